"""One TCP connection as a stream: plain at first, TLS after an upgrade, with deadlines and flow control.

Implements `ports.Stream`. Knows nothing of SMTP, nor of whom the certificates belong to. RFC 8446 6.1
(close_notify and truncation), RFC 3207.

Theory of operation. The transport's callbacks only store what comes (`_inbox`, as it stood on the wire)
and wake whoever waits; the coroutines do the work, in order, in one place. Decryption happens in `receive`,
so a session that is busy takes nothing in: beyond `_INBOX_LIMIT` reading stops, and TCP tells the peer.
What is sent goes by way of a `SendBuffer`; what is said in a handshake is up to `handshake.py`.

Nothing that was received in clear is ever handed out after an upgrade: whatever stands in the inbox when
TLS starts goes to the handshake, which wants a TLS message there (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from relay.errors import ConnectionLost, DeadlinePassed, HandshakeFailed, StreamError
from relay.model import Endpoint
from relay.net.deadline import Deadline
from relay.net.handshake import ClientHandshake, ServerHandshake
from relay.net.send_buffer import SendBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay import ports
    from relay.model import TlsFacts
    from relay.net.channel import TlsChannel
    from relay.net.tls import ClientTls, ServerTls
    from relay.net.writes import Writes

__all__ = ["TcpStream"]

_INBOX_LIMIT: Final = 256 * 1024
_INBOX_PIECES: Final = 1024
"""A peer that sends a few bytes at a time shall not make us hold, and go through, an object for each."""
_REST_SECONDS: Final = 1.0
"""How long a connection is quiet before memory that it has grown is given back."""
_CLOSE_TIME: Final = timedelta(seconds=2)


class TcpStream(asyncio.Protocol):
    """A connection, made by `listener.serve` or `TcpDialer`.

    Args:
        writes: shared with other streams: what all of them send goes out together.
        on_connection: called once, with this stream, when the connection stands.
    """

    __slots__ = (
        "_channel",
        "_closing",
        "_deadline",
        "_eof",
        "_has_news",
        "_inbox",
        "_inbox_bytes",
        "_local",
        "_loop",
        "_lost",
        "_on_connection",
        "_problem",
        "_reader",
        "_reading_paused",
        "_rest",
        "_send_buffer",
        "_sent_eof",
        "_transport",
        "_unread",
        "_writer",
        "_writes",
        "peer",
        "tls",
    )

    def __init__(
        self, writes: Writes, on_connection: Callable[[TcpStream], None] | None = None
    ) -> None:
        self.peer = Endpoint("", 0)
        self.tls: TlsFacts | None = None
        self._writes = writes
        self._on_connection = on_connection
        self._local: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop
        self._transport: asyncio.Transport
        self._send_buffer: SendBuffer
        self._deadline: Deadline
        self._channel: TlsChannel | None = None

        self._inbox: list[bytes | memoryview] = []  # as it came, encrypted under TLS
        self._inbox_bytes = 0
        self._has_news = False  # something has come, in the inbox or behind the handshake
        self._unread = b""  # ready to be handed out
        self._reading_paused = False

        self._eof = False  # the peer's FIN has come
        self._sent_eof = False  # and ours is sent
        self._problem = ""  # why nothing more can be sent or received
        self._lost = False  # the transport is gone
        self._closing = False

        self._rest: asyncio.TimerHandle | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # --- what the transport calls ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of both ends and tell the owner."""
        self._transport = cast("asyncio.Transport", transport)
        self._send_buffer = SendBuffer(self._transport, self._writes)
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self._wake_all)
        peer = transport.get_extra_info("peername")
        self.peer = (
            self.local if peer == "" else _endpoint(peer)
        )  # a client's Unix socket is unnamed
        if self._on_connection is not None:
            self._on_connection(self)
            self._on_connection = None

    def data_received(self, data: bytes) -> None:
        """Store what has come; while closing, forget it."""
        if self._closing:
            return
        self._inbox.append(data)
        if len(self._inbox) >= _INBOX_PIECES:
            self._inbox = [b"".join(self._inbox)]
        self._has_news = True
        self._inbox_bytes += len(data)
        if self._inbox_bytes >= _INBOX_LIMIT and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """Note the peer's FIN; stay open for our last words, or end if they are said."""
        self._eof = True
        if self._sent_eof:
            return False  # the transport closes by itself, and `connection_lost` wakes who waits
        _wake(self._reader)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits; nothing will come or go any more."""
        self._lost = True
        self._problem = self._problem or (f"connection lost: {exc}" if exc else "connection closed")
        self._send_buffer.forget()
        if self._channel is not None:
            self._channel.forget()
        self._deadline.stop()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._wake_all()

    def pause_writing(self) -> None:
        """Keep what is sent from now on back."""
        self._send_buffer.pause()

    def resume_writing(self) -> None:
        """Send what was kept back, as far as it goes."""
        if not self._problem:
            self._send_buffer.resume()
            if self._channel is not None:
                self._problem = self._problem or self._channel.problem
        _wake(self._writer)

    @property
    def local(self) -> Endpoint:
        """Our end; see `ports.Stream`. Hardly ever asked for, and it takes system calls to say."""
        return self._local or _endpoint(self._transport.get_extra_info("sockname"))

    @local.setter
    def local(self, end: Endpoint) -> None:
        self._local = end

    # --- receiving ------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at an orderly end of stream; see `ports.Stream`."""
        while True:
            if self._deadline.has_passed:
                raise DeadlinePassed("the peer was too slow")
            if (self._has_news or self._unread) and (data := self._take()):
                return data
            channel = self._channel
            if channel is not None and channel.is_over:
                return b""
            if self._closing:
                raise ConnectionLost("connection closed by us")
            if self._problem:
                raise ConnectionLost(self._problem)
            if self._eof:
                if channel is None:
                    return b""
                raise ConnectionLost("TLS cut off without close_notify")  # RFC 8446 6.1
            await self._readable()

    @property
    def has_unread(self) -> bool:
        """Whether `receive` would return bytes at once; see `ports.Stream`."""
        if self.tls is None:
            return bool(self._inbox)
        if self._has_news:
            self._unread = self._take()
        return self._unread != b""

    @property
    def is_closing(self) -> bool:
        """Whether the stream is closed, closing, or at its end."""
        if self._closing or self._eof or self._problem:
            return True
        if self.tls is None or self._channel is None:
            return False
        if self._has_news:
            self._unread = self._take()  # a close_notify may be all that has come
        return self._channel.is_over or bool(self._problem)

    def push_back(self, data: bytes) -> None:
        """Put bytes back that were received in clear, to be read again."""
        if data:
            self._inbox.insert(0, data)
            self._has_news = True
            self._inbox_bytes += len(data)

    def _take(self) -> bytes:
        """All that is there, in clear; what was only looked at before comes first."""
        data, self._unread = self._unread, b""
        if not self._has_news:
            return data
        self._has_news = False
        channel = self._channel
        if channel is not None:
            more = channel.decrypt(self._inbox)
            self._problem = self._problem or channel.problem
            if not more:
                self._send_buffer.write(channel.outgoing())  # an alert, or our part of a key update
        elif len(self._inbox) == 1:
            more = cast("bytes", self._inbox.pop())
        else:
            more = b"".join(self._inbox)
            self._inbox.clear()
        self._inbox_bytes = 0
        if self._reading_paused:
            self._resume_reading()
        return data + more if data else more

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if not (self._lost or self._eof):
            self._transport.resume_reading()

    def _readable(self) -> asyncio.Future[None]:
        """What is done when something has come, or when nothing can come any more."""
        channel = self._channel
        if channel is not None and channel.has_grown and self._rest is None:
            self._rest = self._loop.call_later(_REST_SECONDS, self._rest_channel, channel)
        waiter = self._reader = self._loop.create_future()
        return waiter

    def _rest_channel(self, channel: TlsChannel) -> None:
        """Come back every second until the channel was quiet for one."""
        channel.rest()
        self._rest = (
            self._loop.call_later(_REST_SECONDS, self._rest_channel, channel)
            if channel.has_grown
            else None
        )

    # --- sending --------------------------------------------------------------------------

    def send(self, *chunks: bytes) -> None:
        """Queue bytes and write what the socket takes; see `ports.Stream`."""
        if self._problem or self._closing:
            return
        self._send_buffer.send(chunks)
        if self._channel is not None:
            self._problem = self._problem or self._channel.problem

    async def drain(self) -> None:
        """Wait until the send buffer is low again; see `ports.Stream`."""
        while self._has_unsent():
            if self._closing:
                raise ConnectionLost("connection closed by us")
            await self._writable()

    def _has_unsent(self) -> bool:
        """Whether something waits to be sent, and still can be."""
        if self._problem:
            raise ConnectionLost(self._problem)
        self._check_deadline()
        return not self._send_buffer.is_low

    def _writable(self) -> asyncio.Future[None]:
        waiter = self._writer = self._loop.create_future()
        return waiter

    # --- TLS ------------------------------------------------------------------------------

    async def start_tls_server(self, tls: ports.ServerTls) -> TlsFacts:
        """Do the server's side of a TLS handshake; see `ports.Stream`."""
        return await self._shake_hands(ServerHandshake(cast("ServerTls", tls)))

    async def start_tls_client(self, tls: ports.ClientTls, server_name: str) -> TlsFacts:
        """Do the client's side of a TLS handshake; see `ports.Stream`."""
        ours = cast("ClientTls", tls)
        return await self._shake_hands(ClientHandshake(ours, server_name, self.peer))

    async def _shake_hands(self, handshake: ServerHandshake | ClientHandshake) -> TlsFacts:
        """Carry messages to and fro until both sides are done."""
        try:
            while (facts := self._go_on(handshake)) is None:
                if self._closing or self._eof or self._problem:
                    who = "we" if self._closing else "peer"
                    reason = self._problem or f"{who} closed during the handshake"
                    raise HandshakeFailed(reason, handshake.hello)
                self._check_deadline()
                await self._readable()
        except StreamError as error:
            # Nothing more may be said or heard in clear.
            self._problem = self._problem or f"no TLS: {error}"
            self._inbox.clear()
            self._has_news = False
            raise
        self._has_news = True  # something may have come behind it
        self.tls = facts
        return facts

    def _go_on(self, handshake: ServerHandshake | ClientHandshake) -> TlsFacts | None:
        try:
            return handshake.go_on(self._inbox)
        finally:
            # Before anything is sent, lest it go in clear.
            self._channel = self._send_buffer.channel = handshake.channel
            self._send_buffer.write(handshake.outgoing())  # an alert, too

    # --- deadlines ------------------------------------------------------------------------

    def set_deadline(self, after: timedelta | None) -> None:
        """From now, waiting fails once `after` has passed; None lifts it; see `ports.Stream`."""
        self._deadline.set(after)

    def _check_deadline(self) -> None:
        if self._deadline.has_passed:
            raise DeadlinePassed("the peer was too slow")

    def _wake_all(self) -> None:
        _wake(self._reader)
        _wake(self._writer)

    # --- the end --------------------------------------------------------------------------

    async def close(self, last_words: bytes = b"") -> None:
        """Flush, send the last words and close_notify, close; bounded in time; see `ports.Stream`.

        After our FIN we read on for a moment and throw away what comes: closing on unread bytes would
        make the kernel send a reset, which can destroy our last reply on its way (RFC 1122 4.2.2.13).
        """
        if self._lost or self._closing:
            return
        self._closing = True
        self._wake_all()  # who waits in another task must not wait for ever
        self.set_deadline(_CLOSE_TIME)
        try:
            await self._part(last_words)
        except (StreamError, OSError):
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    async def _part(self, last_words: bytes) -> None:
        self._inbox.clear()
        self._has_news = False
        if self._reading_paused:
            self._resume_reading()
        if not self._problem:
            self._send_buffer.send((last_words,))
            while self._has_unsent():
                await self._writable()
            self._say_goodbye()
        self._send_buffer.flush()
        if self._eof:
            self._transport.close()
        else:
            self._sent_eof = True
            self._transport.write_eof()
        while not self._lost:
            await self._readable()
            self._check_deadline()

    def _say_goodbye(self) -> None:
        if self._channel is not None:
            self._channel.say_goodbye()
            self._send_buffer.write(self._channel.outgoing())

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._problem = self._problem or "connection aborted"
        if not self._lost:
            self._send_buffer.flush()  # an alert tells the peer why
            self._transport.abort()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _endpoint(address: object) -> Endpoint:
    if isinstance(address, tuple):
        return Endpoint(str(address[0]), int(address[1]))
    return Endpoint(str(address or ""), 0)
