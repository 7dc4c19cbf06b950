"""What every `ports.Store` must do: one suite, run on each kind; `one` and `other` are two nodes of a fleet."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.model import Charge, Restriction, RestrictionKind, Score
from relay.state.memory import MemoryStore
from tests.kit.stores import KINDS, Servers, two_clients

BAN, SUSPENSION = RestrictionKind.BAN, RestrictionKind.SUSPENSION
NOW = 1_800_000_000.0
SOON, LATER = timedelta(milliseconds=50), timedelta(seconds=10)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with Servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(params=KINDS)
def talk(request, servers, tmp_path):
    """Runs a scenario with two clients of one store."""
    state = servers.state(request.param)

    async def hold(scenario) -> None:
        async with two_clients(state, tmp_path) as (one, other):
            await asyncio.wait_for(scenario(one, other), 60)

    return lambda scenario: uvloop.run(hold(scenario))


def ban(subject: str = "192.0.2.0/24", **values) -> Restriction:
    now = time.time()
    fields = {"reason": "dnsbl", "by": "rule", "since": now, "until": now + 600} | values
    return Restriction(BAN, subject, **fields)


def hourly(key: str, limit: int = 10, cost: int = 1) -> Charge:
    return Charge(key, cost, limit, 3600.0)


# --- rates ----------------------------------------------------------------------------------


def test_a_limit_admits_as_many_as_it_says_whichever_node_is_asked(talk) -> None:
    async def scenario(one, other) -> None:
        admitted = 0
        for number in range(30):
            store = other if number % 3 else one
            admitted += not any(await store.spend([hourly("a")], NOW))
        assert admitted == 10

    talk(scenario)


def test_a_limit_holds_when_all_come_at_once(talk) -> None:
    async def scenario(one, other) -> None:
        answers = await asyncio.gather(
            *((one, other)[number % 2].spend([hourly("a", 100)], NOW) for number in range(200))
        )
        assert sum(not any(answer) for answer in answers) == 100

    talk(scenario)


def test_what_is_refused_is_told_when_to_come_again(talk) -> None:
    async def scenario(one, other) -> None:
        await one.spend([hourly("a", 10, cost=10)], NOW)
        assert list(await other.spend([hourly("a")], NOW)) == [360.0]
        assert list(await other.spend([hourly("a", cost=5)], NOW)) == [1800.0]
        assert list(await other.spend([hourly("a")], NOW + 360)) == [0.0]

    talk(scenario)


def test_all_are_charged_or_none(talk) -> None:
    async def scenario(one, other) -> None:
        await one.spend([hourly("full", 1)], NOW)
        both = [hourly("a", 1), hourly("full", 1), hourly("b", 1)]
        waits = await one.spend(both, NOW)
        assert [wait > 0 for wait in waits] == [False, True, False]
        assert list(await other.spend([hourly("a", 1), hourly("b", 1)], NOW)) == [0.0, 0.0]

    talk(scenario)


def test_a_charge_larger_than_its_limit_never_passes(talk) -> None:
    async def scenario(one, _other) -> None:
        assert list(await one.spend([hourly("a", 10, cost=11)], NOW)) == [math.inf]
        assert list(await one.spend([hourly("closed", 0)], NOW)) == [math.inf]

    talk(scenario)


def test_to_look_takes_nothing(talk) -> None:
    async def scenario(one, other) -> None:
        look = hourly("a", 1, cost=0)
        for _ in range(3):
            assert list(await one.spend([look], NOW)) == [0.0]
        await other.spend([hourly("a", 1)], NOW)
        assert list(await one.spend([look], NOW)) == [3600.0]

    talk(scenario)


def test_one_key_twice_in_a_call_is_charged_twice(talk) -> None:
    async def scenario(one, _other) -> None:
        assert not any(await one.spend([hourly("a", 3), hourly("a", 3)], NOW))
        assert list(await one.spend([hourly("a", 3), hourly("a", 3)], NOW)) == [0.0, 1200.0]
        assert not any(await one.spend([hourly("a", 3)], NOW))

    talk(scenario)


def test_keys_may_be_anything(talk) -> None:
    async def scenario(one, other) -> None:
        for key in (
            "",
            "{",
            "{}",
            "{a}b",
            "a b\r\nc",
            "ü@例え.jp",
            "'; DROP TABLE rate; --",
            "x" * 400,
        ):
            await one.spend([hourly(key, 1)], NOW)
            assert (await other.spend([hourly(key, 1)], NOW))[0] > 0
            await one.add_scores([Score(key, 2.0, 60.0)], NOW)
            assert list(await other.scores([key], NOW)) == [2.0]

    talk(scenario)


def test_nothing_is_charged_by_nothing(talk) -> None:
    async def scenario(one, _other) -> None:
        assert list(await one.spend([], NOW)) == []
        await one.add_scores([], NOW)
        assert list(await one.scores([], NOW)) == []

    talk(scenario)


# --- reputation -----------------------------------------------------------------------------


def test_a_sum_is_halved_each_half_life(talk) -> None:
    async def scenario(one, other) -> None:
        await one.add_scores([Score("a", 8.0, 60.0), Score("b", -4.0, 3600.0)], NOW)
        assert list(await other.scores(["a", "b", "c"], NOW)) == [8.0, -4.0, 0.0]
        assert list(await other.scores(["b", "a"], NOW + 120)) == pytest.approx(
            [-3.9086, 2.0], 1e-4
        )
        await other.add_scores([Score("a", 1.0, 60.0)], NOW + 180)
        assert list(await one.scores(["a", "a"], NOW + 240)) == [1.0, 1.0]

    talk(scenario)


def test_additions_of_all_count(talk) -> None:
    async def scenario(one, other) -> None:
        await asyncio.gather(
            *((one, other)[n % 2].add_scores([Score("a", 1.0, 1e9)], NOW) for n in range(100))
        )
        assert list(await one.scores(["a"], NOW)) == [100.0]

    talk(scenario)


def test_a_clock_that_is_behind_neither_fades_nor_grows_a_sum(talk) -> None:
    async def scenario(one, other) -> None:
        await one.add_scores([Score("a", 4.0, 60.0)], NOW)
        assert list(await other.scores(["a"], NOW - 60)) == [4.0]
        await other.add_scores([Score("a", 4.0, 60.0)], NOW - 60)
        assert list(await one.scores(["a"], NOW + 60)) == [4.0]

    talk(scenario)


# --- restrictions ---------------------------------------------------------------------------


def test_a_restriction_is_there_for_all_as_it_was_given(talk) -> None:
    async def scenario(one, other) -> None:
        given = [
            ban(times=3),
            ban("2001:db8::/64", until=None, reason="ü \x00 'quoted'\n"),
            Restriction(SUSPENSION, "acme billing", "too much", "", time.time()),
        ]
        for each in given:
            await one.restrict(each)
        found = await other.restrictions()
        assert sorted(found, key=lambda each: (each.kind, each.subject)) == given

    talk(scenario)


def test_the_later_one_replaces_the_former(talk) -> None:
    async def scenario(one, other) -> None:
        await one.restrict(ban())
        again = ban(times=2, reason="again")
        await other.restrict(again)
        assert list(await one.restrictions()) == [again]

    talk(scenario)


def test_one_can_be_taken_back_once(talk) -> None:
    async def scenario(one, other) -> None:
        await one.restrict(ban())
        assert await other.lift(SUSPENSION, "192.0.2.0/24") is False
        assert await other.lift(BAN, "192.0.2.0/24") is True
        assert await one.lift(BAN, "192.0.2.0/24") is False
        now = time.time()
        assert not any(each.is_in_force(now) for each in await one.restrictions())

    talk(scenario)


def test_one_that_was_taken_back_is_remembered_as_such_and_forgiven(talk) -> None:
    async def scenario(one, other) -> None:
        given = ban(until=None, times=3)
        await one.restrict(given)
        await other.lift(BAN, "192.0.2.0/24")
        (found,) = await one.restrictions()
        assert found == replace(given, times=0, until=found.until)
        assert given.since <= found.until <= time.time()
        await one.restrict(given)
        assert list(await other.restrictions()) == [given]

    talk(scenario)


def test_one_that_is_over_is_remembered_for_a_while(talk) -> None:
    async def scenario(one, other) -> None:
        now = time.time()
        over = ban(since=now - 3600, until=now - 1800)
        await one.restrict(over)
        await one.restrict(ban("192.0.2.9/32", since=now - 9e6, until=now - 8.9e6))
        assert list(await other.restrictions()) == [over]

    talk(scenario)


def test_the_version_changes_with_every_change(talk) -> None:
    async def scenario(one, other) -> None:
        seen = [await other.version()]
        await one.restrict(ban())
        seen.append(await other.version())
        await one.restrict(ban(times=2))
        seen.append(await other.version())
        await one.lift(BAN, "192.0.2.0/24")
        seen.append(await other.version())
        assert len(set(seen)) == 4
        await one.lift(BAN, "192.0.2.0/24")
        await one.spend([hourly("a")], NOW)
        assert await other.version() == seen[-1]

    talk(scenario)


def test_who_waits_for_a_change_hears_of_it_at_once(talk) -> None:
    async def scenario(one, other) -> None:
        for _ in range(3):
            before = await other.version()
            waiting = asyncio.ensure_future(other.changed(before, LATER))
            await asyncio.wait([waiting], timeout=0.05)
            assert not waiting.done()
            begun = time.monotonic()
            await one.restrict(ban())
            assert await waiting == await one.version() != before
            assert time.monotonic() - begun < 1

    talk(scenario)


def test_who_waits_in_vain_is_told_when_the_time_has_passed(talk) -> None:
    async def scenario(one, _other) -> None:
        version = await one.version()
        assert await one.changed(version, SOON) == version
        assert await one.changed(version - 1, LATER) == version

    talk(scenario)


def test_there_may_be_very_many_restrictions(talk) -> None:
    async def scenario(one, other) -> None:
        given = [ban(f"10.{number >> 8}.{number & 255}.0/24") for number in range(1200)]
        for start in range(0, 1000, 100):
            await asyncio.gather(*(one.restrict(each) for each in given[start : start + 100]))
        await one.restrict(*given[1000:])
        for _ in range(2):
            found = await other.restrictions()
            assert set(found) == set(given)
            assert len(found) == 1200

    talk(scenario)


# --- values ---------------------------------------------------------------------------------


def test_a_value_is_there_for_all_until_its_time(talk) -> None:
    async def scenario(one, other) -> None:
        now = time.time()
        value = bytes(range(256))
        await one.put("a", value, now + 60.5)
        assert await other.get("a", now) == value
        assert await other.get("a", now + 60.4) == value
        assert await other.get("a", now + 60.5) is None
        assert await other.get("b", now) is None
        await other.put("a", b"", now + 60)
        assert await one.get("a", now) == b""

    talk(scenario)


# --- all kinds agree ------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c"])
CHARGES = st.builds(
    Charge,
    KEYS,
    st.integers(0, 12),
    st.integers(0, 10),
    st.sampled_from([0.1, 1.0, 7.0, 60.0, 3600.0, 86400.0]),
)
SCORES = st.builds(Score, KEYS, st.floats(-50, 50), st.sampled_from([1.0, 60.0, 86400.0]))
STEPS = st.lists(
    st.tuples(
        st.floats(-2, 100) | st.just(0.0) | st.floats(0, 1e5),
        st.lists(CHARGES, max_size=4) | st.lists(SCORES, max_size=3),
    ),
    max_size=25,
)


def test_all_kinds_give_the_same_answers(talk) -> None:
    """The arithmetic in Lua is that in Python, to the last bit but for what a logarithm's table does."""
    tried = iter(range(10**9))

    async def play(store, steps, prefix: str) -> list[float]:
        answers: list[float] = []
        now = NOW
        for elapsed, items in steps:
            now += elapsed
            charges = [each._replace(key=prefix + each[0]) for each in items if len(each) == 4]
            scores = [each._replace(subject=prefix + each[0]) for each in items if len(each) == 3]
            answers += await store.spend(charges, now)
            await store.add_scores(scores, now)
            answers += await store.scores([prefix + key for key in "abc"], now)
        return answers

    async def scenario(one, _other) -> None:
        examples: list = []

        @settings(max_examples=60, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck), deadline=None)  # fmt: skip
        @given(STEPS)
        def collect(steps) -> None:
            examples.append(steps)

        collect()
        for steps in examples:
            prefix = f"{next(tried)}:"
            expected = await play(MemoryStore(), steps, prefix)
            assert await play(one, steps, prefix) == pytest.approx(expected, rel=1e-9, abs=1e-9)

    talk(scenario)
