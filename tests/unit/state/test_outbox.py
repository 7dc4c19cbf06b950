"""The outbox: what is noted reaches the store later, nothing is lost while it is away, and limits fill up."""

import asyncio

import pytest

from relay.errors import Unavailable
from relay.model import Charge, Score
from relay.state.memory import MemoryStore
from relay.state.outbox import Outbox
from tests.kit.services import FakeClock


class Moody(MemoryStore):
    """A store that can be away; counts how often it is called."""

    def __init__(self):
        super().__init__()
        self.is_away = False
        self.fault = None
        self.calls = 0

    def _call(self):
        self.calls += 1
        if self.fault:
            raise self.fault
        if self.is_away:
            raise Unavailable("away")

    async def add_scores(self, scores, now):
        self._call()
        await super().add_scores(scores, now)

    async def spend(self, charges, now):
        self._call()
        return await super().spend(charges, now)

    async def put(self, key, value, until):
        self._call()
        await super().put(key, value, until)


@pytest.fixture
def store():
    return Moody()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def outbox(store, clock):
    return Outbox(store, clock)


def sums(store, clock, *subjects):
    return asyncio.run(store.scores(subjects, clock.now().timestamp()))


def test_scores_are_added_up_and_brought_together(outbox, store, clock):
    for _ in range(100):
        outbox.add_score(Score("a", 1.0, 60.0))
        outbox.add_score(Score("b", 0.5, 60.0))
    assert sums(store, clock, "a", "b") == [0.0, 0.0]
    asyncio.run(outbox.flush())
    assert sums(store, clock, "a", "b") == [100.0, 50.0]
    assert store.calls == 1
    asyncio.run(outbox.flush())
    assert store.calls == 1, "nothing is left"


def test_many_subjects_are_brought_a_few_at_a_time(outbox, store, clock):
    for number in range(120):
        outbox.add_score(Score(str(number), 1.0, 60.0))
    asyncio.run(outbox.flush())
    assert store.calls == 3
    assert sums(store, clock, "0", "119") == [1.0, 1.0]


def test_what_a_store_that_is_away_cannot_take_waits(outbox, store, clock):
    store.is_away = True
    outbox.add_score(Score("a", 1.0, 60.0))
    outbox.put("best", b"3", clock.now().timestamp() + 60)
    charge = Charge("k", 1, 3, 60.0)
    outbox.charge(charge)
    asyncio.run(outbox.flush())
    outbox.add_score(Score("a", 1.0, 60.0))
    store.is_away = False
    asyncio.run(outbox.flush())
    now = clock.now().timestamp()
    assert sums(store, clock, "a") == [2.0]
    assert asyncio.run(store.get("best", now)) == b"3"
    assert asyncio.run(store.spend([charge._replace(cost=2)], now)) == [0.0]
    assert asyncio.run(store.spend([charge], now)) != [0.0]


def test_what_a_store_fails_at_keeps_nothing_else_back(outbox, store, clock):
    until = clock.now().timestamp() + 60
    outbox.charge(Charge("bad", 1, 3, 60.0))
    outbox.put("bad", b"", until)
    for _ in range(2):
        store.fault = UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed")
        with pytest.raises(UnicodeEncodeError):
            asyncio.run(outbox.flush())
    store.fault = None
    outbox.put("good", b"1", until)
    asyncio.run(outbox.flush())
    assert asyncio.run(store.get("good", clock.now().timestamp())) == b"1"
    assert asyncio.run(store.get("bad", clock.now().timestamp())) is None


@pytest.mark.parametrize("times", [1, 5, 9, 10, 11, 1000])
def test_a_limit_is_filled_as_far_as_there_is_room(times, outbox, store, clock):
    charge = Charge("rejected", 1, 10, 1000.0)
    for _ in range(times):
        outbox.charge(charge)
    asyncio.run(outbox.flush())
    now = clock.now().timestamp()
    left = [asyncio.run(store.spend([charge], now)) for _ in range(11)].count([0.0])
    assert left == max(10 - times, 0)


def test_a_limit_that_is_partly_used_is_filled_up(outbox, store, clock):
    now = clock.now().timestamp()
    charge = Charge("rejected", 1, 10, 1000.0)
    asyncio.run(store.spend([charge._replace(cost=7)], now))
    for _ in range(9):
        outbox.charge(charge)
    asyncio.run(outbox.flush())
    assert asyncio.run(store.spend([charge._replace(cost=2)], now)) != [0.0]


def test_memory_is_bounded(outbox, store, clock):
    for number in range(30_000):
        outbox.add_score(Score(str(number), 1.0, 60.0))
    outbox.add_score(Score("0", 1.0, 60.0))
    asyncio.run(outbox.flush())
    assert sums(store, clock, "0", "19999", "20000") == [2.0, 1.0, 0.0]


def test_it_is_brought_by_itself(outbox, store, clock):
    async def scenario():
        running = asyncio.create_task(outbox.run())
        outbox.add_score(Score("a", 1.0, 60.0))
        async with asyncio.timeout(10):
            while not store.calls:
                await asyncio.sleep(0.02)
        running.cancel()

    asyncio.run(scenario())
    assert sums(store, clock, "a") == [1.0]
