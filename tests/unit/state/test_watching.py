"""The view of restrictions follows the store, and outlives it."""

import asyncio
from datetime import timedelta
from ipaddress import ip_address

import pytest

from relay.errors import Unavailable
from relay.model import Restriction, RestrictionKind
from relay.state.memory import MemoryStore
from relay.state.watching import Watcher
from tests.kit.services import FakeClock

PEER, OTHER = ip_address("192.0.2.7"), ip_address("198.51.100.7")


def restriction(clock, subject="192.0.2.0/24", kind=RestrictionKind.BAN, seconds=3600.0):
    now = clock.now().timestamp()
    return Restriction(kind, subject, "why", "who", now, now + seconds)


class FlakyStore(MemoryStore):
    """Can be told to be away."""

    is_away = False

    def __getattribute__(self, name):
        if name in {"version", "changed", "restrictions", "restrict"} and self.is_away:
            return self._fail
        return super().__getattribute__(name)

    async def _fail(self, *_):
        raise Unavailable("away")


class Scene:
    """A store, a clock and a watcher that is at work."""

    def __init__(self):
        self.store, self.clock, self.changes = FlakyStore(), FakeClock(), 0
        self.watcher = Watcher(self.store, self.clock, self._changed)
        self.view = self.watcher.view

    def _changed(self):
        self.changes += 1

    async def __aenter__(self):
        await self.watcher.start()
        self.task = asyncio.create_task(self.watcher.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.task.cancelled()

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_what_is_in_force_at_the_start_is_known_before_mail_is_taken():
    async def scenario():
        scene = Scene()
        await scene.store.restrict(restriction(scene.clock))
        await scene.watcher.start()
        assert scene.view.banned(PEER)
        assert scene.view.is_known

    run(scenario)


def test_a_start_without_the_store_is_a_start_without_knowledge():
    async def scenario():
        scene = Scene()
        scene.store.is_away = True
        async with scene:
            assert not scene.view.is_known
            scene.store.is_away = False
            await scene.store.restrict(restriction(scene.clock))
            await scene.until(lambda: scene.view.banned(PEER))
            assert scene.view.is_known

    run(scenario)


def test_what_comes_and_what_goes_is_told_once():
    async def scenario():
        async with Scene() as scene:
            await scene.store.restrict(restriction(scene.clock))
            await scene.until(lambda: scene.view.banned(PEER))
            assert scene.changes == 1
            await scene.store.lift(RestrictionKind.BAN, "192.0.2.0/24")
            await scene.until(lambda: not scene.view.banned(PEER))
            assert scene.changes == 2

    run(scenario)


def test_our_own_is_in_force_at_once():
    async def scenario():
        async with Scene() as scene:
            await scene.watcher.restrict(restriction(scene.clock))
            assert scene.view.banned(PEER)
            assert scene.changes == 1
            assert len(await scene.store.restrictions()) == 1

    run(scenario)


def test_while_the_store_is_away_all_stays_and_our_own_are_kept_for_it():
    async def scenario():
        async with Scene() as scene:
            await scene.store.restrict(restriction(scene.clock))
            await scene.until(lambda: scene.view.banned(PEER))
            scene.store.is_away = True
            await scene.watcher.restrict(restriction(scene.clock, "198.51.100.0/24"))
            await asyncio.sleep(0.05)
            assert scene.view.banned(PEER)
            assert scene.view.banned(OTHER)
            scene.store.is_away = False
            await scene.until(lambda: len(scene.store._restrictions) == 2)
            await scene.until(lambda: len(scene.view) == 2)
            assert scene.view.banned(OTHER)

    run(scenario)


def test_one_ends_when_its_time_has_come_though_nobody_says_so():
    async def scenario():
        async with Scene() as scene:
            await scene.store.restrict(restriction(scene.clock, seconds=60))
            await scene.until(lambda: scene.view.banned(PEER))
            scene.clock.advance(timedelta(seconds=61))
            await scene.until(lambda: not scene.view.banned(PEER))

    run(scenario)


def test_what_cannot_be_read_keeps_no_other_from_being_in_force():
    async def scenario():
        async with Scene() as scene:
            await scene.store.restrict(restriction(scene.clock, "nonsense"))
            await scene.store.restrict(restriction(scene.clock))
            await scene.until(lambda: scene.view.banned(PEER))

    run(scenario)


@pytest.mark.parametrize("count", [1000])
def test_very_many_are_taken_up_in_slices(count):
    async def scenario():
        scene = Scene()
        for number in range(count):
            subject = f"10.{number >> 8}.{number & 255}.0/24"
            await scene.store.restrict(restriction(scene.clock, subject))
        turns = 0

        async def count_turns():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        await scene.watcher.start()
        counting.cancel()
        assert len(scene.view) == count
        assert turns >= 4

    run(scenario)
