"""One TCP connection as a stream: plain at first, TLS after an upgrade, with deadlines and flow control.

Implements `ports.Stream`. Knows nothing of SMTP, nor of whom the certificates belong to. RFC 8446 6.1
(close_notify and truncation), RFC 3207.

Theory of operation. The transport's callbacks only store what comes (`_inbox`, as it stood on the wire)
and wake whoever waits; the coroutines do the work, in order, in one place. Decryption happens in `receive`,
so a session that is busy takes nothing in: beyond `_INBOX_LIMIT` reading stops, and TCP tells the peer.

What is to be sent and cannot be sent yet stays in `_outbox` as it was given, not copied and not
encrypted, until the transport takes more. So a slow reader costs a reference to the message, not another copy.

What goes over the wire is held back for a moment, up to a piece, to go with what others send (`Writes`).

Nothing that was received in clear is ever handed out after an upgrade: whatever stands in the inbox when
TLS starts goes to the TLS parser, which wants a handshake there (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from OpenSSL import SSL

from relay.errors import ConnectionLost, DeadlinePassed, HandshakeFailed, StreamError
from relay.model import Endpoint
from relay.net.channel import TlsChannel
from relay.net.deadline import Deadline
from relay.net.tls import describe_failure, facts_of
from relay.tls.clienthello import HelloReader, MalformedHello

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay import ports
    from relay.model import TlsFacts
    from relay.net.tls import ClientTls, ServerTls
    from relay.net.writes import Writes
    from relay.tls.clienthello import ClientHello
    from relay.tls.profile import Profile

__all__ = ["TcpStream"]

_INBOX_LIMIT: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024
"""What is encrypted and written at a time: four full TLS records."""
_REST_SECONDS: Final = 1.0
"""How long a connection is quiet before memory that it has grown is given back."""
_CLOSE_TIME: Final = timedelta(seconds=2)
_UNEXPECTED_MESSAGE: Final = bytes((21, 3, 1, 0, 2, 2, 10))  # a fatal alert, RFC 8446 6


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
        "_held",
        "_inbox",
        "_inbox_bytes",
        "_local",
        "_loop",
        "_lost",
        "_on_connection",
        "_outbox",
        "_problem",
        "_reader",
        "_reading_paused",
        "_rest",
        "_sending",
        "_sent_eof",
        "_transport",
        "_unread",
        "_writer",
        "_writes",
        "_writing_paused",
        "peer",
        "tls",
    )

    def __init__(
        self, writes: Writes, on_connection: Callable[[TcpStream], None] | None = None
    ) -> None:
        self.peer = Endpoint("", 0)
        self.tls: TlsFacts | None = None
        self._on_connection = on_connection
        self._local: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop
        self._transport: asyncio.Transport
        self._deadline: Deadline
        self._channel: TlsChannel | None = None

        self._inbox: list[bytes | memoryview] = []  # as it came, encrypted under TLS
        self._inbox_bytes = 0
        self._has_news = False  # something has come, in the inbox or behind the handshake
        self._unread = b""  # ready to be handed out
        self._reading_paused = False
        self._outbox: list[bytes | memoryview] = []  # in clear
        self._held: bytes | memoryview = b""  # as it goes over the wire, until `flush`
        self._writes = writes
        self._writing_paused = False
        self._sending = False

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
        self._outbox.clear()
        self._held = b""
        if self._channel is not None:
            self._channel.forget()
        self._deadline.stop()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._wake_all()

    def pause_writing(self) -> None:
        """Keep what is sent from now on back."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Send what was kept back, as far as it goes."""
        self._writing_paused = False
        self._send_outbox()
        if not self._writing_paused:
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
                self._ship(channel)  # an alert, or our part of a key update
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
        if self._outbox or self._writing_paused or sum(map(len, chunks)) > _PIECE_BYTES:
            self._outbox.extend(chunks)
            self._send_outbox()
        else:
            self._write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    async def drain(self) -> None:
        """Wait until the send buffer is low again; see `ports.Stream`."""
        while self._has_unsent():
            if self._closing:
                raise ConnectionLost("connection closed by us")
            await self._writable()

    def _check_deadline(self) -> None:
        if self._deadline.has_passed:
            raise DeadlinePassed("the peer was too slow")

    def _has_unsent(self) -> bool:
        """Whether something waits to be sent, and still can be."""
        if self._problem:
            raise ConnectionLost(self._problem)
        self._check_deadline()
        return self._writing_paused or bool(self._outbox)

    def _writable(self) -> asyncio.Future[None]:
        waiter = self._writer = self._loop.create_future()
        return waiter

    def _send_outbox(self) -> None:
        if self._sending:  # a transport may call resume_writing from within its write
            return
        self._sending = True
        while self._outbox and not (self._writing_paused or self._problem):
            self._write(_next_piece(self._outbox))
        self._sending = False

    def _write(self, data: bytes | memoryview) -> None:
        channel = self._channel
        if channel is not None and data:
            data = channel.encrypt(data)
            self._problem = self._problem or channel.problem
        self._hold(data)

    def _ship(self, channel: TlsChannel) -> None:
        """Send what TLS has for the peer."""
        self._hold(channel.outgoing())

    def _hold(self, wire: bytes | memoryview) -> None:
        """Have bytes written with those of other streams; a whole piece is written now."""
        if not wire or self._lost:
            return
        is_first = not self._held
        self._held = b"".join((self._held, wire)) if self._held else wire
        if len(self._held) > _PIECE_BYTES:
            self.flush()
        elif is_first:
            self._writes.add(self)

    def flush(self) -> None:
        """Give the transport what is held back."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    # --- TLS ------------------------------------------------------------------------------

    async def start_tls_server(self, tls: ports.ServerTls) -> TlsFacts:
        """Do the server's side of a TLS handshake; see `ports.Stream`."""
        ours = cast("ServerTls", tls)
        hello, received = await self._receive_hello()
        connection = ours.accept(hello)
        self.push_back(received)  # for OpenSSL to read, too
        await self._shake_hands(connection, ours.profile, hello)
        self.tls = facts_of(connection, hello.server_name, hello)
        return self.tls

    async def start_tls_client(self, tls: ports.ClientTls, server_name: str) -> TlsFacts:
        """Do the client's side of a TLS handshake; see `ports.Stream`."""
        ours, peer = cast("ClientTls", tls), self.peer
        connection = ours.connect(server_name, peer)
        channel = await self._shake_hands(connection, ours.profile)
        # RFC 8446 4.6.1: tickets come after the handshake, before the server's first words.
        channel.on_first_bytes(lambda: ours.remember(server_name, peer, connection))
        self.tls = facts_of(connection, server_name)
        return self.tls

    async def _receive_hello(self) -> tuple[ClientHello, bytes]:
        """Read the client's offer, before there is any OpenSSL object for it."""
        reader = HelloReader()
        try:
            while (data := await self.receive()) != b"":
                if (hello := reader.feed(data)) is not None:
                    return hello, bytes(reader.data)
        except MalformedHello as error:
            self._hold(_UNEXPECTED_MESSAGE)
            raise self._sealed(f"not a TLS ClientHello: {error}") from error
        except ConnectionLost as error:
            raise self._sealed(str(error)) from error
        except DeadlinePassed:
            self._sealed("too slow")
            raise
        raise self._sealed("peer closed during the handshake")

    async def _shake_hands(
        self, connection: SSL.Connection, profile: Profile, hello: ClientHello | None = None
    ) -> TlsChannel:
        self._channel = channel = TlsChannel(connection)
        try:
            await self._exchange(channel, is_server=hello is not None)
        except SSL.Error as error:
            raise self._sealed(describe_failure(error, profile, hello), hello) from error
        except ConnectionLost as error:
            raise self._sealed(str(error), hello) from error
        except DeadlinePassed:
            self._sealed("too slow")
            raise
        self._has_news = True
        return channel

    async def _exchange(self, channel: TlsChannel, *, is_server: bool) -> None:
        """Pass handshake messages to and fro until both sides are done; an alert is sent, too."""
        if is_server:
            channel.feed(self._inbox)
        while True:
            try:
                is_done = channel.shake_hands()
            except SSL.Error:
                self._ship(channel)
                raise
            if is_done and is_server and channel.is_tls13:
                return  # RFC 8446 4.6.1: only tickets are left to send; they go with what comes next
            self._ship(channel)
            if is_done:
                return
            while not channel.feed(self._inbox):
                if self._eof or self._problem:
                    raise ConnectionLost(self._problem or "peer closed during the handshake")
                await self._readable()
                self._check_deadline()

    def _sealed(self, reason: str, hello: ClientHello | None = None) -> HandshakeFailed:
        """After a failed handshake nothing more may be said or heard in clear."""
        self._problem = self._problem or f"no TLS: {reason}"
        self._inbox.clear()
        self._has_news = False
        return HandshakeFailed(reason, hello)

    # --- deadlines ------------------------------------------------------------------------

    def set_deadline(self, after: timedelta | None) -> None:
        """From now, waiting fails once `after` has passed; None lifts it; see `ports.Stream`."""
        self._deadline.set(after)

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
            while self._has_unsent():
                await self._writable()
            self._say_goodbye(last_words)
        self.flush()
        if self._eof:
            self._transport.close()
        else:
            self._sent_eof = True
            self._transport.write_eof()
        while not self._lost:
            await self._readable()
            self._check_deadline()

    def _say_goodbye(self, last_words: bytes) -> None:
        self._write(last_words)
        if self._channel is not None:
            self._channel.say_goodbye()
            self._ship(self._channel)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._problem = self._problem or "connection aborted"
        if not self._lost:
            self.flush()  # an alert tells the peer why
            self._transport.abort()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _next_piece(outbox: list[bytes | memoryview]) -> bytes | memoryview:
    """Take at most a piece from the queue: the front of a large chunk, or small ones joined."""
    first = outbox.pop(0)
    if len(first) > _PIECE_BYTES:
        view = memoryview(first)
        outbox.insert(0, view[_PIECE_BYTES:])
        return view[:_PIECE_BYTES]
    small, size = [first], len(first)
    while outbox and size + len(outbox[0]) <= _PIECE_BYTES:
        size += len(outbox[0])
        small.append(outbox.pop(0))
    return first if len(small) == 1 else b"".join(small)


def _endpoint(address: object) -> Endpoint:
    if isinstance(address, tuple):
        return Endpoint(str(address[0]), int(address[1]))
    return Endpoint(str(address or ""), 0)
