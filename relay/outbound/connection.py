"""One connection to a next hop: a Stream and a client engine, joined.

Opens it (TLS and the check of the peer included), writes what a dialogue yields, reads what is
due, each phase with its deadline. It must not know of pools, routes' choice or messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

from relay.errors import ConnectionLost, HandshakeFailed, StreamError, Unavailable
from relay.outbound.security import PeerCheck
from relay.smtp.client import ClientEngine
from relay.smtp.client_commands import BLOCK_BYTES
from relay.smtp.replies import Reply
from relay.turns import give_way

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from relay.model import TlsFacts
    from relay.outbound.routes import Host, Route
    from relay.ports import Clock, Dialer, Stream
    from relay.smtp.client import Dialogue, Phase

__all__ = ["Connection", "Opener"]

_T = TypeVar("_T")

_HUNG_UP: Final = Reply(421, "4.4.2", ("Connection closed by the next hop",))
"""Stands for the answers that a peer owes which said no and hung up (RFC 5321 3.8)."""


class Connection:
    """A live connection. `converse` drives one dialogue; after an exception only `abort` is left.

    `is_reused` and `heard` say together whether a failure may be the fault of the time it lay
    idle: see `attempt`.
    """

    __slots__ = (
        "_deadlines",
        "_stream",
        "engine",
        "heard",
        "host",
        "idle_since",
        "is_reused",
        "messages",
        "tls",
    )

    def __init__(self, host: Host, stream: Stream, engine: ClientEngine, route: Route) -> None:
        settings = route.settings
        self.host = host
        self.engine = engine
        self.tls: TlsFacts | None = None
        self.messages = 0
        self.idle_since = 0.0
        self.is_reused = False
        self.heard = False
        self._stream = stream
        self._deadlines: Mapping[Phase, timedelta] = {
            "command": settings.command_timeout,
            "data": settings.data_timeout,
            "final": settings.final_timeout,
        }

    @property
    def stream(self) -> Stream:
        """The stream underneath."""
        return self._stream

    @property
    def is_alive(self) -> bool:
        """Whether the next question may be asked here."""
        stream = self._stream
        return self.engine.is_usable and not stream.is_closing and not stream.has_unread

    def take_up(self) -> None:
        """Take the connection up again after a rest."""
        self.is_reused = True
        self.heard = False

    async def converse(self, dialogue: Dialogue[_T]) -> _T:
        """Have one dialogue and return its result.

        Raises:
            ConnectionLost: the peer is gone.
            DeadlinePassed: the peer is too slow.
            Unavailable: the peer makes no sense, or will not begin.
        """
        try:
            flight = next(dialogue)
            while True:
                if flight.chunks:
                    blocks = iter(flight.chunks)
                    self._check_silence()
                    while not self._write_block(blocks):
                        await self._keep_pace()
                flight = dialogue.send(await self._answers(flight.awaits))
        except StopIteration as end:
            return cast("_T", end.value)

    def _check_silence(self) -> None:
        """What was said before we ask could be taken for the answer."""
        if self._stream.has_unread or self.engine.has_residue:
            raise ConnectionLost("the next hop spoke without being asked")

    def _write_block(self, chunks: Iterator[bytes]) -> bool:
        """Write as many chunks as make a block; say whether they were the last."""
        block: list[bytes] = []
        size_bytes = 0
        for chunk in chunks:
            block.append(chunk)
            size_bytes += len(chunk)
            if size_bytes >= BLOCK_BYTES:
                self._stream.send(*block)
                return False
        self._stream.send(*block)
        return True

    async def _keep_pace(self) -> None:
        """Wait until the peer has taken what was written; one that keeps pace is never waited for."""
        self._stream.set_deadline(self._deadlines["data"])  # RFC 5321 4.5.3.2.5
        await self._stream.drain()
        await give_way()

    async def _answers(self, awaits: Sequence[Phase]) -> Sequence[Reply]:
        """Wait for the replies that are due.

        A peer that says 421 closes, and one that has said no may just hang up: either stands for
        the replies still owed.
        """
        engine = self.engine
        replies: list[Reply] = []
        may_be_stale = self.is_reused and not self.heard
        try:
            for phase in awaits:
                # Before the first one nothing has been said: that was looked after before we asked.
                reply = engine.next_reply() if replies else None
                if reply is None:
                    self._stream.set_deadline(self._deadlines[phase])
                while reply is None:
                    reply = self._hear(await self._stream.receive())
                replies.append(reply)
                if reply.code == 421:
                    break
        except ConnectionLost:
            if all(each.code < 400 for each in replies):
                raise
            engine.is_usable = False
            replies.append(_HUNG_UP)
        if replies[-1].code == 421:
            if may_be_stale and len(replies) == 1:
                # Said to a connection that has lain idle too long; a new one will do.
                self.heard = False
                raise ConnectionLost(f"closed while idle: {replies[0]}")
            replies += replies[-1:] * (len(awaits) - len(replies))
        return replies

    def _hear(self, data: bytes) -> Reply | None:
        """Take what the peer says; return the next reply if it is whole by now."""
        if not data:
            raise ConnectionLost("closed by the next hop")
        self.heard = True
        self.engine.receive(data)
        return self.engine.next_reply()

    async def quit(self) -> None:
        """Say goodbye and close, without waiting for the answer (RFC 5321 4.1.1.10)."""
        self._stream.send(b"QUIT\r\n")
        await self._stream.close()

    def abort(self) -> None:
        """Cut the connection: the peer throws an unfinished message away."""
        self._stream.abort()


class Opener:
    """Opens connections to one host of a route, checked and greeted: ready for mail."""

    def __init__(
        self, route: Route, host: Host, *, dialer: Dialer, clock: Clock, hostname: str
    ) -> None:
        self._route = route
        self._host = host
        self._check = PeerCheck(route, host)
        self._dialer = dialer
        self._clock = clock
        self._hostname = hostname

    async def open(self) -> Connection:
        """Connect, start TLS as the route says, check the peer, say EHLO.

        Raises:
            Unavailable: there is no speaking with this host now.
            HandshakeFailed: TLS did not come about, or the peer is not who it should be.
        """
        host, settings = self._host, self._route.settings
        stream = await self._dialer.connect(host.name, host.port, settings.connect_timeout)
        engine = ClientEngine(self._hostname, xclient=settings.xclient, xforward=settings.xforward)
        connection = Connection(host, stream, engine, self._route)
        try:
            await self._begin(connection)
        except BaseException as error:
            connection.abort()
            if isinstance(error, StreamError) and not isinstance(error, HandshakeFailed):
                raise Unavailable(f"{type(error).__name__} at the beginning: {error}") from error
            raise
        return connection

    async def _begin(self, connection: Connection) -> None:
        engine, settings = connection.engine, self._route.settings
        by_command = settings.tls != "off" and settings.handshake == "starttls"
        if settings.tls != "off" and settings.handshake == "implicit":
            await self._secure(connection)
        await connection.converse(engine.greet())
        # Never on without TLS: a peer without EHLO cannot do STARTTLS.
        await connection.converse(engine.hello(fallback=not by_command))
        if by_command:
            await connection.converse(engine.request_tls())
            await self._secure(connection)
            engine.tls_started()
            await connection.converse(engine.hello())

    async def _secure(self, connection: Connection) -> None:
        """Do the handshake and check the peer, before a further byte is sent."""
        route, stream = self._route, connection.stream
        if route.tls is None:
            raise HandshakeFailed("the route has no TLS set up")
        stream.set_deadline(route.settings.connect_timeout)
        connection.tls = await stream.start_tls_client(route.tls, route.server_name(self._host))
        objection = self._check.objection(connection.tls, self._clock.now())
        if objection is not None:
            raise HandshakeFailed(objection)
