"""Connections are kept, counted, handed on and let go."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import HandshakeFailed, Unavailable
from relay.outbound.connection import Connection
from relay.outbound.pool import LeftAlone, Pool
from relay.smtp.client import ClientEngine, SessionRefused
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from tests.kit.clock import FakeClock
from tests.kit.forwarding import make_route
from tests.kit.stream import MemoryStream, stream_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BUSY = SessionRefused("the connection", Reply(421, "4.7.0", ("Too many connections",)))
SOON = timedelta(milliseconds=30)


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 20))

    return run


class World:
    """A pool whose connections are opened here; `failures` are raised first, in their order."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.failures: deque[Exception] = deque()
        self.extensions = Extensions(pipelining=True)
        self.peers: list[MemoryStream] = []
        self.gate: asyncio.Event | None = None
        self.route = make_route(**options)
        self.pool = Pool(self.route.hosts[0], self.open, self.route.settings, self.clock)

    async def open(self) -> Connection:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.popleft()
        client, server = stream_pair()
        self.peers.append(server)
        engine = ClientEngine("edge")
        engine.extensions = self.extensions
        return Connection(self.route.hosts[0], client, engine, self.route)

    @property
    def opened(self) -> int:
        return len(self.peers)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@on_loop
async def test_the_last_one_back_is_the_first_one_lent() -> None:
    world = World()
    one, two = await world.pool.acquire(), await world.pool.acquire()
    world.pool.release(one)
    world.pool.release(two)
    assert await world.pool.acquire() is two
    assert await world.pool.acquire() is one
    assert two.is_reused
    assert (world.opened, world.pool.size, world.pool.idle) == (2, 2, 0)


@on_loop
async def test_a_new_connection_is_not_a_reused_one() -> None:
    assert not (await World().pool.acquire()).is_reused


@on_loop
async def test_a_discarded_connection_is_cut() -> None:
    world = World()
    world.pool.discard(await world.pool.acquire())
    assert world.pool.size == 0
    assert world.peers[0].is_aborted_by_peer


@pytest.mark.parametrize(
    "spoil",
    [
        lambda connection, peer: peer.drop() or connection.stream.drop(),
        lambda connection, peer: peer.send(b"421 4.4.2 Bye\r\n"),
        lambda connection, peer: setattr(connection.engine, "is_usable", False),
    ],
    ids=["lost", "unasked words", "unusable"],
)
@on_loop
async def test_a_dead_connection_is_not_lent(spoil: Any) -> None:
    for when in ("before", "after"):
        world = World()
        connection = await world.pool.acquire()
        if when == "before":
            spoil(connection, world.peers[0])
        world.pool.release(connection)
        if when == "after":
            spoil(connection, world.peers[0])
        assert await world.pool.acquire() is not connection
        assert world.pool.size == 1


@on_loop
async def test_a_connection_ended_by_the_peer_is_not_lent() -> None:
    world = World()
    connection = await world.pool.acquire()
    world.pool.release(connection)
    await world.peers[0].close()
    assert await world.pool.acquire() is not connection


@on_loop
async def test_idle_connections_are_let_go_in_time() -> None:
    world = World(idle_timeout=timedelta(seconds=60))
    one, two = await world.pool.acquire(), await world.pool.acquire()
    world.pool.release(one)
    world.clock.advance(timedelta(seconds=40))
    world.pool.release(two)
    world.clock.advance(timedelta(seconds=30))
    world.pool.expire()
    await turns()
    assert (world.pool.size, world.pool.idle) == (1, 1)
    assert await world.peers[0].receive() == b"QUIT\r\n"
    assert await world.pool.acquire() is two


@on_loop
async def test_an_expired_connection_is_not_lent_even_if_nobody_swept() -> None:
    world = World(idle_timeout=timedelta(seconds=60))
    one = await world.pool.acquire()
    world.pool.release(one)
    world.clock.advance(timedelta(seconds=61))
    assert await world.pool.acquire() is not one


@pytest.mark.parametrize(("ours", "theirs"), [(2, 0), (0, 2), (5, 2)])
@on_loop
async def test_a_spent_connection_is_seen_off(ours: int, theirs: int) -> None:
    world = World(max_messages_per_connection=ours)
    world.extensions = Extensions(mailmax=theirs)
    connection = await world.pool.acquire()
    connection.messages = 1
    world.pool.release(connection)
    assert await world.pool.acquire() is connection
    connection.messages = 2
    world.pool.release(connection)
    await turns()
    assert world.pool.size == 0
    assert await world.peers[0].receive() == b"QUIT\r\n"


# --- the limit -----------------------------------------------------------------------------------


@on_loop
async def test_beyond_the_limit_they_wait_in_line() -> None:
    world = World(max_connections=1)
    only = await world.pool.acquire()
    order: list[int] = []

    async def use(number: int) -> None:
        connection = await world.pool.acquire()
        order.append(number)
        assert connection is only
        assert connection.is_reused
        world.pool.release(connection)

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await turns()
    assert order == []
    world.pool.release(only)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert world.opened == 1


@on_loop
async def test_the_place_of_a_lost_connection_goes_to_the_next_in_line() -> None:
    world = World(max_connections=1)
    only = await world.pool.acquire()
    waiting = asyncio.create_task(world.pool.acquire())
    await turns()
    world.pool.discard(only)
    assert await waiting is not only
    assert (world.opened, world.pool.size) == (2, 1)


@on_loop
async def test_waiting_has_an_end() -> None:
    world = World(max_connections=1, connect_timeout=SOON)
    only = await world.pool.acquire()
    with pytest.raises(Unavailable, match="busy"):
        await world.pool.acquire()
    world.pool.release(only)
    assert await world.pool.acquire() is only, "nobody is left in the line"


@pytest.mark.parametrize("what", ["release", "discard"])
@on_loop
async def test_who_leaves_the_line_passes_on_what_came_meanwhile(what: str) -> None:
    world = World(max_connections=1)
    only = await world.pool.acquire()
    leaving = asyncio.create_task(world.pool.acquire())
    staying = asyncio.create_task(world.pool.acquire())
    await turns()
    getattr(world.pool, what)(only)  # goes to the one that leaves...
    leaving.cancel()  # ...in the same moment
    connection = await staying
    assert (connection is only) is (what == "release")
    assert world.pool.size == 1


@pytest.mark.parametrize("later", [0, 5])
@on_loop
async def test_who_leaves_the_line_is_not_waited_for(later: int) -> None:
    world = World(max_connections=1)
    only = await world.pool.acquire()
    leaving = asyncio.create_task(world.pool.acquire())
    await turns()
    leaving.cancel()
    await turns(later)
    world.pool.release(only)
    assert world.pool.idle == 1


@on_loop
async def test_a_cancelled_opening_gives_its_place_back() -> None:
    world = World(max_connections=1)
    world.gate = asyncio.Event()
    opening = asyncio.create_task(world.pool.acquire())
    await turns()
    opening.cancel()
    await turns()
    world.gate.set()
    await world.pool.acquire()
    assert world.pool.size == 1


@on_loop
async def test_a_fresh_connection_takes_an_idle_ones_place() -> None:
    world = World(max_connections=1)
    stale = await world.pool.acquire()
    world.pool.release(stale)
    assert await world.pool.acquire(fresh=True) is not stale
    assert world.pool.size == 1


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unavailable("refused"), HandshakeFailed("wrong name"), BUSY])
@on_loop
async def test_a_failure_to_open_keeps_the_host_off_for_a_while(error: Exception) -> None:
    world = World()
    world.failures.append(error)
    with pytest.raises(type(error)):
        await world.pool.acquire()
    with pytest.raises(LeftAlone):
        await world.pool.acquire()
    assert world.pool.size == 0
    assert await world.pool.acquire(as_last_resort=True)
    assert world.pool.health.problem == ""


@on_loop
async def test_a_host_in_doubt_is_opened_by_one_at_a_time() -> None:
    world = World()
    world.failures.append(Unavailable("refused"))
    with pytest.raises(Unavailable):
        await world.pool.acquire()
    world.clock.advance(timedelta(seconds=2))
    world.gate = asyncio.Event()
    first = asyncio.create_task(world.pool.acquire())
    await turns()
    with pytest.raises(LeftAlone):
        await world.pool.acquire()
    world.gate.set()
    await first
    await world.pool.acquire()


@on_loop
async def test_an_idle_connection_is_lent_although_no_new_one_can_be_had() -> None:
    world = World()
    one = await world.pool.acquire()
    world.failures.append(Unavailable("refused"))
    with pytest.raises(Unavailable):
        await world.pool.acquire()
    world.pool.release(one)
    assert await world.pool.acquire() is one


@on_loop
async def test_the_hops_own_limit_of_connections_is_respected() -> None:
    world = World()
    one = await world.pool.acquire()
    world.failures.extend([BUSY, BUSY])
    waiting = asyncio.create_task(world.pool.acquire())
    also_waiting = asyncio.create_task(world.pool.acquire())
    await turns()
    assert not waiting.done()
    world.pool.release(one)
    assert await waiting is one
    world.pool.release(one)
    assert await also_waiting is one
    assert (world.opened, world.pool.size) == (1, 1)
    world.clock.advance(timedelta(seconds=61))
    assert not (await world.pool.acquire()).is_reused, "tried again after a minute"


@on_loop
async def test_in_a_crowd_no_more_are_tried_and_a_lost_place_is_filled() -> None:
    world = World()
    one = await world.pool.acquire()
    world.failures.append(BUSY)
    told = asyncio.create_task(world.pool.acquire())
    await turns()
    later = asyncio.create_task(world.pool.acquire())
    await turns()
    assert not later.done(), "waits, although far below our own limit"
    world.pool.discard(one)
    two = await told
    assert (two is not one, world.opened, world.pool.size) == (True, 2, 1)
    world.pool.release(two)
    assert await later is two


@on_loop
async def test_in_a_crowd_an_idle_connection_is_taken_first() -> None:
    world = World()
    one = await world.pool.acquire()
    world.failures.append(BUSY)
    world.gate = asyncio.Event()
    told = asyncio.create_task(world.pool.acquire())
    await turns()
    world.pool.release(one)
    world.gate.set()
    assert await told is one


@on_loop
async def test_what_the_host_offers_is_noted() -> None:
    world = World()
    assert world.pool.extensions is None
    await world.pool.acquire()
    assert world.pool.extensions == Extensions(pipelining=True)


# --- the end ---------------------------------------------------------------------------------------


@on_loop
async def test_close_says_goodbye_to_all_and_sends_those_in_line_away() -> None:
    world = World(max_connections=2)
    idle, lent = await world.pool.acquire(), await world.pool.acquire()
    waiting = asyncio.create_task(world.pool.acquire())
    await turns()
    idle_peer, lent_peer = world.peers
    closing = asyncio.create_task(world.pool.close())
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    await closing
    world.pool.release(idle)
    world.pool.release(lent)
    await turns()
    assert await idle_peer.receive() == b"QUIT\r\n"
    assert await lent_peer.receive() == b"QUIT\r\n"
    assert world.pool.size == 0
    with pytest.raises(Unavailable, match="stopping"):
        await world.pool.acquire()
