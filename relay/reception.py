"""The connections of one worker: taken, counted, looked at again when trust has changed, ended.

What is said on a connection is the session's matter; who is trusted is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from relay.errors import StreamError
from relay.inbound import failures
from relay.inbound.session import Session
from relay.net.listener import read_proxy_header, serve
from relay.turns import give_way

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Mapping

    from relay.inbound.services import Services
    from relay.live_trust import LiveTrust
    from relay.net.stream import TcpStream
    from relay.net.tally import Row
    from relay.net.tls import ServerTls
    from relay.settings import Settings
    from relay.settings.listener import Listener

__all__ = ["Reception"]

log = structlog.get_logger("gatepost")

_LOOK_SECONDS: Final = 0.2
"""How soon live sessions are looked at once trust may have changed."""
_SLICE_SECONDS: Final = 0.002
"""How long that may hold up the event loop at a time."""


class Reception:
    """All sessions of a worker.

    Args:
        settings: the listeners, limits and deadlines.
        server_tls: by the listener's name.
        services: what sessions need.
        row: this worker's counters; it knows the connections of all.
    """

    def __init__(
        self,
        settings: Settings,
        server_tls: Mapping[str, ServerTls],
        services: Services,
        row: Row,
    ) -> None:
        self._settings = settings
        self._server_tls = server_tls
        self._services = services
        self._row = row
        self._servers: list[asyncio.AbstractServer] = []
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, sockets: Mapping[str, list[socket.socket]]) -> None:
        """Take connections from now on, on the sockets of each listener."""
        for listener in self._settings.listener:
            for listening in sockets[listener.name]:
                self._servers.append(await serve(listening, partial(self._accept, listener)))

    async def retire(self) -> None:
        """Take no more, and let every session go on to its own end."""
        await self._close()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def drain(self) -> None:
        """Take no more, end idle sessions, and give transactions in flight `timeouts.drain`."""
        await self._close()
        for session in tuple(self._sessions):
            session.drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.timeouts.drain.total_seconds())

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        await give_way()  # a connection that was accepted in this turn begins in the next one

    # --- connections ------------------------------------------------------------------------

    def _accept(self, listener: Listener, stream: TcpStream) -> None:
        if listener.proxy_protocol_from:
            self._start(self._accept_proxied(listener, stream))
        else:
            self._admit(listener, stream)

    async def _accept_proxied(self, listener: Listener, stream: TcpStream) -> None:
        try:
            stream.set_deadline(self._settings.timeouts.handshake)
            await read_proxy_header(stream, listener.proxy_protocol_from)
        except StreamError as error:
            log.info("proxy header refused", peer=str(stream.peer), reason=str(error))
            stream.abort()
            return
        await self._admit(listener, stream)

    def _admit(self, listener: Listener, stream: TcpStream) -> asyncio.Task[None]:
        """Start a session, or tell the client that there are too many."""
        address = stream.peer.address
        if self._is_full(address, listener):
            self._row.count("refused")
            self._row.count_by("refusals", "too_many_connections")
            if listener.tls == "starttls":
                stream.send(str(failures.TOO_MANY_CONNECTIONS).encode() + b"\r\n")
            return self._start(stream.close())
        self._row.connection_opened(address)
        session = Session(stream, listener, self._server_tls[listener.name], self._services)
        self._sessions.add(session)
        return self._start(session.run(), partial(self._ended, session, address))

    def _ended(self, session: Session, address: str, task: asyncio.Task[None]) -> None:
        self._sessions.discard(session)
        self._row.connection_closed(address)
        self._tasks.discard(task)

    def _start(
        self,
        work: Coroutine[None, None, None],
        on_end: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(on_end or self._tasks.discard)
        return task

    def _is_full(self, address: str, listener: Listener) -> bool:
        row, limit = self._row, listener.max_connections_per_address
        return row.open_connections() >= self._settings.limits.max_connections or (
            limit > 0 and row.connections_from(address) >= limit
        )

    # --- trust that has changed --------------------------------------------------------------

    async def keep_trusted(self, trust: LiveTrust) -> None:
        """End live sessions of whom the trust decision in force no longer trusts."""
        version = trust.version
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if version != (version := trust.version):
                await self._reconsider()

    async def _reconsider(self) -> None:
        """Have every session ask again who its peer is, with pauses for the others' sake."""
        now = asyncio.get_running_loop().time
        pause_at = now() + _SLICE_SECONDS
        for session in tuple(self._sessions):
            try:
                session.reconsider()
            except Exception:  # the others must be looked at all the same; MAIL will ask again
                log.exception("session not looked at", session=session.reference)
            if now() >= pause_at:
                await asyncio.sleep(0)
                pause_at = now() + _SLICE_SECONDS
