"""The view of the restrictions follows its store, and gives back what the store has lost."""

import asyncio
from datetime import timedelta
from ipaddress import ip_address

import pytest

from relay.errors import Unavailable
from relay.model import Restriction, RestrictionKind
from relay.state.last_known import LastKnown
from relay.state.memory import MemoryStore
from relay.state.watching import Watcher
from tests.kit.services import FakeClock
from tests.kit.turns import counting_turns

PEER = ip_address("192.0.2.7")
NETWORK = "192.0.2.0/24"
BAN = RestrictionKind.BAN


class EmptiedStore(MemoryStore):
    """A store that can be away, and can lose all that it knows, as a server does that was started empty."""

    def __init__(self):
        super().__init__()
        self.is_away = False

    def lose_all(self):
        self._restrictions.clear()
        self._announce()

    async def restrict(self, *restrictions):
        if self.is_away:
            raise Unavailable("away")
        await super().restrict(*restrictions)

    async def version(self):
        if self.is_away:
            raise Unavailable("away")
        return await super().version()

    async def changed(self, known, timeout):
        if self.is_away:
            raise Unavailable("away")
        return await super().changed(known, timeout)


class Site:
    """A store and two nodes that watch it."""

    def __init__(self):
        self.clock = FakeClock()
        self.store = EmptiedStore()
        self.changes = [0, 0]
        self.watchers = [
            Watcher(self.store, self.clock, lambda number=number: self.note(number))
            for number in (0, 1)
        ]

    def note(self, number):
        self.changes[number] += 1

    def ban(self, subject=NETWORK, **values):
        now = self.clock.now().timestamp()
        moments = {"since": now, "until": now + 600}
        return Restriction(BAN, subject, reason="test", by="rule", **moments | values)

    def sees(self, address=PEER):
        return [watcher.view.banned(address) is not None for watcher in self.watchers]

    async def see(self, *expected, address=PEER):
        async with asyncio.timeout(5):
            while self.sees(address) != list(expected):
                await asyncio.sleep(0.001)


def run(scenario):
    async def play():
        site = Site()
        for watcher in site.watchers:
            await watcher.start()
        watching = [asyncio.create_task(watcher.run()) for watcher in site.watchers]
        try:
            await scenario(site)
        finally:
            for each in watching:
                each.cancel()
            await asyncio.wait(watching)

    asyncio.run(play())


def test_what_one_node_puts_in_force_all_know():
    async def scenario(site):
        await site.watchers[0].restrict(site.ban())
        assert site.sees()[0]
        await site.see(True, True)
        assert site.changes[1] == 1

    run(scenario)


def test_what_is_taken_back_is_over_for_all_and_is_not_put_back():
    async def scenario(site):
        await site.watchers[0].restrict(site.ban(until=None))
        await site.see(True, True)
        assert await site.store.lift(BAN, NETWORK)
        await site.see(False, False)
        await site.watchers[1].restrict(site.ban("198.51.100.0/24"))
        await site.see(True, True, address=ip_address("198.51.100.1"))
        assert site.sees() == [False, False]

    run(scenario)


def test_what_was_taken_back_is_over_even_where_clocks_are_behind():
    async def scenario(site):
        await site.watchers[0].restrict(site.ban())
        site.clock.advance(timedelta(seconds=-30))
        assert await site.store.lift(BAN, NETWORK)
        await site.see(False, False)

    run(scenario)


def test_a_store_that_has_lost_all_gets_back_what_is_in_force():
    async def scenario(site):
        await site.watchers[0].restrict(site.ban())
        await site.watchers[0].restrict(site.ban("198.51.100.0/24", until=None))
        now = site.clock.now().timestamp()
        await site.watchers[0].restrict(site.ban("203.0.113.0/24", since=now - 9, until=now - 1))
        await site.see(True, True)
        before = set(await site.store.restrictions())
        assert len(before) == 3
        site.store.lose_all()
        async with asyncio.timeout(5):
            while len(await site.store.restrictions()) < 2:
                assert site.sees() == [True, True]
                await asyncio.sleep(0.001)
        kept = set(await site.store.restrictions())
        assert before - kept == {each for each in before if not each.is_in_force(now)}
        assert site.sees() == [True, True]

    run(scenario)


def test_what_was_put_in_force_while_the_store_was_away_reaches_it_later():
    async def scenario(site):
        site.store.is_away = True
        await site.watchers[0].restrict(site.ban())
        assert site.sees() == [True, False]
        site.store.is_away = False
        await site.see(True, True)

    run(scenario)


@pytest.mark.parametrize("number", [1000])
def test_very_many_are_put_back_too(number):
    async def scenario(site):
        given = [site.ban(f"10.{each >> 8}.{each & 255}.0/24") for each in range(number)]
        for each in given:
            await site.store.restrict(each)
        await site.see(True, True, address=ip_address(f"10.{number - 1 >> 8}.{number - 1 & 255}.1"))
        site.store.lose_all()
        async with asyncio.timeout(10):
            while set(await site.store.restrictions()) != set(given):
                await asyncio.sleep(0.005)

    run(scenario)


# --- the start ------------------------------------------------------------------------------


def test_what_is_in_force_is_known_before_mail_is_taken():
    async def scenario(site):
        await site.store.restrict(site.ban())
        late = Watcher(site.store, site.clock, lambda: None)
        await late.start()
        assert late.view.banned(PEER)
        assert late.view.is_known

    run(scenario)


def test_without_the_store_a_start_has_what_was_last_known(tmp_path):
    async def scenario(site):
        known = LastKnown(tmp_path / "restrictions.json")
        await site.store.restrict(site.ban())
        first = Watcher(site.store, site.clock, lambda: None, known)
        await first.start()
        site.store.is_away = True
        for last_known, expected in ((known, True), (None, False)):
            second = Watcher(site.store, site.clock, lambda: None, last_known)
            await second.start()
            assert bool(second.view.banned(PEER)) is expected
            assert not second.view.is_known

    run(scenario)


def test_what_was_last_known_and_has_been_taken_back_since_is_over(tmp_path):
    async def scenario(site):
        known = LastKnown(tmp_path / "restrictions.json")
        known.write([site.ban()])
        site.store.is_away = True
        late = Watcher(site.store, site.clock, lambda: None, known)
        await late.start()
        assert late.view.banned(PEER)
        site.store.is_away = False
        await site.store.restrict(site.ban())
        await site.store.lift(BAN, NETWORK)
        watching = asyncio.create_task(late.run())
        async with asyncio.timeout(5):
            while late.view.banned(PEER):
                await asyncio.sleep(0.001)
        watching.cancel()
        await asyncio.wait([watching])

    run(scenario)


# --- while it goes on -----------------------------------------------------------------------


def test_one_ends_when_its_time_has_come_though_nobody_says_so():
    async def scenario(site):
        await site.store.restrict(site.ban())
        await site.see(True, True)
        site.clock.advance(timedelta(seconds=601))
        await site.see(False, False)

    run(scenario)


def test_what_cannot_be_read_keeps_no_other_from_being_in_force():
    async def scenario(site):
        await site.store.restrict(site.ban("nonsense"))
        await site.store.restrict(site.ban())
        await site.see(True, True)

    run(scenario)


def test_very_many_are_taken_up_in_slices():
    async def scenario(site):
        for number in range(1000):
            await site.store.restrict(site.ban(f"10.{number >> 8}.{number & 255}.0/24"))
        late = Watcher(site.store, site.clock, lambda: None)
        _, turns = await counting_turns(late.start())
        assert len(late.view) == 1000
        assert turns >= 4

    run(scenario)
