"""Ways to a name server: a datagram from a port of its own each time, or a kept connection, with TLS or not.

They carry bytes and match answers to questions; what an answer says is read elsewhere. Each waits
for as long as its caller does. RFC 1035 4.2, RFC 7766 (TCP), RFC 7858 (TLS).
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from typing import TYPE_CHECKING, Final, cast

from relay.errors import Unavailable
from relay.net.dns_message import Match

if TYPE_CHECKING:
    from relay.net.dns_message import Question
    from relay.net.name_servers import NameServer

__all__ = ["LookAlike", "NameServerConnection", "Truncated", "ask_by_datagram"]

_IDLE_SECONDS: Final = 10.0  # RFC 7766 6.2.3
_MAX_ANSWER_BYTES: Final = 32 * 1024  # the largest honest ones have a third of it


class Truncated(Exception):
    """The answer does not fit into a datagram."""


class LookAlike(Exception):
    """Only answers came in which the case of letters is not ours: forged, or from a careless server."""


async def ask_by_datagram(server: NameServer, question: Question, seconds: float) -> bytes:
    """Send a question from a port that the kernel draws; return the first answer to exactly this one.

    Whatever else comes is ignored until `seconds` have passed.

    Raises:
        Truncated: ask again by a connection.
        LookAlike: the same, and time was up.
        TimeoutError: nothing came that resembles an answer.
        Unavailable: nothing listens there.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    try:
        # A connected socket: the kernel drops what comes from elsewhere, and tells of closed ports.
        transport, inbox = await loop.create_datagram_endpoint(
            lambda: _Inbox(question, answered), remote_addr=server.endpoint
        )
    except OSError as error:
        raise Unavailable(_reason(error)) from error
    try:
        transport.sendto(question.wire)
        async with asyncio.timeout(seconds):
            return await answered
    except TimeoutError:
        if inbox.look_alikes:
            raise LookAlike from None
        raise
    finally:
        transport.abort()


class _Inbox(asyncio.DatagramProtocol):
    """What comes back to one question's port."""

    def __init__(self, question: Question, answered: asyncio.Future[bytes]) -> None:
        self.look_alikes = 0
        self._question = question
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  the kernel has looked
        if self._answered.done():
            return
        match self._question.match(data):
            case Match.ANSWER:
                self._answered.set_result(data)
            case Match.TRUNCATED:
                self._answered.set_exception(Truncated())
            case Match.LOOK_ALIKE:
                self.look_alikes += 1
            case Match.FOREIGN:
                pass

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(Unavailable(_reason(exc)))


class NameServerConnection:
    """A connection to one name server, opened when needed, closed when idle; questions overlap on it."""

    def __init__(self, server: NameServer, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = tls
        self._opening = asyncio.Lock()
        self._exchange: _Exchange | None = None

    async def ask(self, question: Question) -> bytes:
        """Send a question; return its answer.

        Raises:
            Unavailable: no connection came about, or it was lost.
        """
        async with self._opening:
            if self._exchange is None or self._exchange.is_closed:
                self._exchange = await self._open()
            exchange = self._exchange
        return await exchange.ask(question)

    def close(self) -> None:
        """Let go of the connection; questions under way fail."""
        if self._exchange is not None:
            self._exchange.close()

    async def _open(self) -> _Exchange:
        loop = asyncio.get_running_loop()
        address, port = self._server.endpoint
        try:
            _, exchange = await loop.create_connection(
                _Exchange, address, port,
                ssl=self._tls, server_hostname=self._server.tls_name or None,
            )  # fmt: skip
        except ssl.SSLError as error:
            raise Unavailable(f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise Unavailable(_reason(error)) from error
        return exchange


class _Exchange(asyncio.Protocol):
    """One open connection: each message has its length in front (RFC 1035 4.2.2), ids tell answers apart."""

    def __init__(self) -> None:
        self.is_closed = False
        self._received = bytearray()
        self._waiting: dict[bytes, tuple[Question, asyncio.Future[bytes]]] = {}
        self._ids = itertools.count()
        self._transport: asyncio.Transport
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, question: Question) -> bytes:
        """Send one question and wait for its answer."""
        key = self._free_id()
        question = question._replace(wire=key + question.wire[2:])
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (question, answered)
        if self._idle is not None:
            self._idle.cancel()
        self._transport.write(len(question.wire).to_bytes(2) + question.wire)
        try:
            return await answered
        finally:
            self._waiting.pop(key, None)
            if not self._waiting and not self.is_closed:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self.close)

    def close(self) -> None:
        """Close, whatever is under way."""
        self.is_closed = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 2:
            length = int.from_bytes(self._received[:2])
            if length > _MAX_ANSWER_BYTES:
                self._fail(f"an answer of {length} bytes")
                self.close()
                return
            if len(self._received) < 2 + length:
                return
            self._take(bytes(self._received[2 : 2 + length]))
            del self._received[: 2 + length]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._idle is not None:
            self._idle.cancel()
        self._fail(str(exc) if exc else "connection closed")

    def _take(self, message: bytes) -> None:
        question, answered = self._waiting.get(message[:2], (None, None))
        if question is None or answered is None or answered.done():
            return
        # Nobody guesses what goes over a connection: a server that is careless with case will do.
        if question.match(message) is not Match.FOREIGN:
            answered.set_result(message)

    def _fail(self, reason: str) -> None:
        for _, answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(Unavailable(reason))

    def _free_id(self) -> bytes:
        return next(
            key for each in self._ids if (key := (each % 65536).to_bytes(2)) not in self._waiting
        )


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
