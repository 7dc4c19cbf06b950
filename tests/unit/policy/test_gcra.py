"""GCRA: how many pass, and when the next one may."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.model import Charge
from relay.policy.gcra import settle

NOW = 1_800_000_000.0
PERIODS = st.sampled_from([0.1, 1.0, 3.0, 60.0, 3600.0, 86_400.0, 604_800.0])


def charge(limit=10, period=3600.0, cost=1):
    return Charge("key", cost, limit, period)


def admitted(arrivals, each):
    """How many of a series of moments pass, and the key's moment in the end."""
    moment, passed = 0.0, 0
    for now in arrivals:
        moment, wait = settle(moment, each, now)
        passed += not wait
    return passed


@given(limit=st.integers(1, 300), period=PERIODS)
@example(limit=3, period=1.0)
@example(limit=20_000, period=3600.0)
def test_exactly_as_many_as_the_limit_pass_at_once(limit, period):
    assert admitted([NOW] * (limit + 5), charge(limit, period)) == limit


@given(limit=st.integers(1, 50), period=PERIODS, seed=st.lists(st.floats(0, 1), max_size=200))
def test_no_window_lets_more_pass_than_twice_the_limit(limit, period, seed):
    """A full burst, and what comes free meanwhile: never more in one period."""
    moments = sorted(NOW + period * part for part in seed)
    assert admitted(moments, charge(limit, period)) <= 2 * limit


@given(limit=st.integers(1, 200), period=PERIODS)
def test_who_waits_as_told_is_admitted_and_not_before(limit, period):
    each, moment = charge(limit, period), 0.0
    for _ in range(limit):
        moment, _ = settle(moment, each, NOW)
    _, wait = settle(moment, each, NOW)
    assert 0 < wait <= period / limit * 1.5
    assert settle(moment, each, NOW + wait)[1] == 0
    assert settle(moment, each, NOW + wait * 0.4)[1] > 0


def test_a_steady_stream_at_the_pace_of_the_limit_passes_for_ever():
    assert admitted([NOW + 360.0 * n for n in range(1000)], charge(10)) == 1000


def test_a_refused_charge_changes_nothing():
    moment, _ = settle(0.0, charge(cost=10), NOW)
    assert settle(moment, charge(cost=3), NOW) == (moment, 1080.0)


def test_a_look_takes_nothing_and_asks_for_one():
    assert settle(0.0, charge(cost=0), NOW) == (0.0, 0.0)
    moment, _ = settle(0.0, charge(cost=10), NOW)
    assert settle(moment, charge(cost=0), NOW) == (moment, 360.0)


@pytest.mark.parametrize(("limit", "cost"), [(10, 11), (0, 1), (0, 0), (1, 10**9)])
def test_more_than_the_limit_never_passes(limit, cost):
    assert settle(0.0, charge(limit, cost=cost), NOW) == (0.0, math.inf)


def test_a_clock_that_ran_ahead_locks_nobody_out_for_longer_than_a_period():
    ahead, _ = settle(0.0, charge(), NOW + 10**9)
    assert settle(ahead, charge(), NOW)[1] <= 3600.0
