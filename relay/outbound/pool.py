"""The connections to one host of a route: kept, counted, handed on.

Idle ones are taken last in, first out, so that those not needed run into their idle timeout.
Beyond `max_connections` questions wait in line. It must not know what a connection is used for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from relay.errors import GatepostError, Unavailable
from relay.outbound.health import Health
from relay.smtp.client import SessionRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from relay.outbound.connection import Connection
    from relay.outbound.routes import Host
    from relay.ports import Clock
    from relay.settings.route import Route as RouteSettings
    from relay.smtp.extensions import Extensions

__all__ = ["LeftAlone", "Pool"]

_CROWDED_FOR = 60.0
"""How long the next hop's own limit of connections is respected before more are tried, seconds."""


class LeftAlone(Unavailable):
    """The host has failed a moment ago and was not tried."""


class Pool:
    """One host's connections. Every `acquire` is followed by `release` or `discard`.

    `size` counts all connections: idle, lent, and being opened.
    """

    def __init__(
        self,
        host: Host,
        open_connection: Callable[[], Awaitable[Connection]],
        limits: RouteSettings,
        clock: Clock,
    ) -> None:
        self.host = host
        self.health = Health(clock)
        self.extensions: Extensions | None = None
        """What the host offered last, None as long as it has never been reached."""
        self.size = 0
        self._open_connection = open_connection
        self._clock = clock
        self._limits = limits
        self._idle_seconds = limits.idle_timeout.total_seconds()
        self._idle: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._crowd = 0
        self._crowded_until = 0.0
        self._farewells: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def idle(self) -> int:
        """How many connections lie idle."""
        return len(self._idle)

    def take_idle(self) -> Connection | None:
        """Lend an idle connection, None if there is none: what `acquire` does first."""
        while self._idle:
            connection = self._idle.pop()
            rested = self._clock.monotonic() - connection.idle_since
            if connection.is_alive and rested < self._idle_seconds:
                connection.take_up()
                return connection
            self._dismiss(connection)
        return None

    async def acquire(self, *, fresh: bool = False, as_last_resort: bool = False) -> Connection:
        """Lend a connection: an idle one, a new one, or the next one to come back.

        Args:
            fresh: no idle one (it has just turned out that they may be dead).
            as_last_resort: try the host although it has failed a moment ago.

        Raises:
            Unavailable: the host is off, refuses us, or all connections are busy too long.
            HandshakeFailed: it cannot be verified.
        """
        if self._is_closed:
            raise Unavailable("the relay is stopping")
        if fresh:
            self._make_room()
        elif (connection := self.take_idle()) is not None:
            return connection
        if self.size < self._capacity():
            self.size += 1
        elif (connection := await self._stand_in_line()) is not None:
            return connection
        return await self._open(as_last_resort=as_last_resort)

    def release(self, connection: Connection) -> None:
        """Take a connection back that may be used again."""
        ours, theirs = (
            self._limits.max_messages_per_connection,
            connection.engine.extensions.mailmax,
        )
        count = connection.messages
        is_spent = 0 < ours <= count or 0 < theirs <= count  # RFC 9422 4.1
        if not connection.is_alive:
            self.discard(connection)
        elif is_spent or self._is_closed:
            self._see_off(connection)
        elif (waiter := self._next_waiter()) is not None:
            connection.take_up()
            waiter.set_result(connection)
        else:
            connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Take a connection back that is of no use any more."""
        connection.abort()
        self._give_place()

    def expire(self) -> None:
        """Close what has lain idle too long; to be called now and then."""
        horizon = self._clock.monotonic() - self._idle_seconds
        while self._idle and (self._idle[0].idle_since <= horizon or not self._idle[0].is_alive):
            self._dismiss(self._idle.popleft())

    async def close(self) -> None:
        """Say goodbye to the idle ones; those lent out follow when they come back."""
        self._is_closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(Unavailable("the relay is stopping"))
        while self._idle:
            self._dismiss(self._idle.popleft())
        if self._farewells:
            await asyncio.wait(self._farewells)

    # --- a new connection -------------------------------------------------------------------

    async def _open(self, *, as_last_resort: bool) -> Connection:
        """Open a connection in a place already counted."""
        health = self.health
        if not health.admits(as_last_resort=as_last_resort):
            self._give_place()
            raise LeftAlone(f"left alone for a while, after: {health.problem}")
        health.begin()
        try:
            connection = await self._open_connection()
        except SessionRefused as error:
            if error.reply.code == 421 and self.size > 1:
                health.abandoned()
                return await self._respect_crowd()
            self._note_failure(error)
            raise
        except GatepostError as error:
            self._note_failure(error)
            raise
        except BaseException:
            health.abandoned()
            self._give_place()
            raise
        health.succeeded()
        self.extensions = connection.engine.extensions
        return connection

    def _note_failure(self, error: GatepostError) -> None:
        self.health.failed(str(error))
        self._give_place()

    async def _respect_crowd(self) -> Connection:
        """Wait for one of ours: the next hop takes no more connections than we have.

        RFC 5321 3.8: 421 in place of a banner. Postfix takes 50 from one client by default.
        """
        self.size -= 1
        self._crowd = self.size
        self._crowded_until = self._clock.monotonic() + _CROWDED_FOR
        connection = self.take_idle() or await self._stand_in_line()
        if connection is not None:
            return connection
        return await self._open(as_last_resort=False)

    def _capacity(self) -> int:
        limit = self._limits.max_connections
        if self._crowd and self._clock.monotonic() < self._crowded_until:
            return min(limit, self._crowd)
        return limit

    # --- idle connections -------------------------------------------------------------------

    def _make_room(self) -> None:
        if self._idle and self.size >= self._capacity():
            self._dismiss(self._idle.popleft())

    def _dismiss(self, connection: Connection) -> None:
        if connection.is_alive:
            self._see_off(connection)
        else:
            self.discard(connection)

    def _see_off(self, connection: Connection) -> None:
        """Say QUIT and close in the background."""
        farewell = asyncio.create_task(connection.quit())
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)
        self._give_place()

    # --- those who wait ---------------------------------------------------------------------

    async def _stand_in_line(self) -> Connection | None:
        """Wait for a connection, or for the place of one (None), already counted for us."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._limits.connect_timeout.total_seconds()):
                return await waiter
        except BaseException as error:
            self._leave_line(waiter)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"all {self.size} connections are busy") from error
            raise

    def _leave_line(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Pass on what came in the very moment we gave up."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._give_place()
            else:
                self.release(connection)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _give_place(self) -> None:
        """A connection is gone: its place goes to the next in line."""
        waiter = self._next_waiter() if self.size <= self._capacity() else None
        if waiter is None:
            self.size -= 1
        else:
            waiter.set_result(None)
