"""Suggested limits: percentile, headroom, round numbers, and mail that fits them never waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.limits import Count, Rate
from relay.policy.suggestion import PERIODS, Sent, Traffic, would_wait

HOUR, DAY = PERIODS


def traffic_of(*sent):
    traffic = Traffic()
    for each in sent:
        traffic.add(each)
    return traffic


def rates(traffic, count=Count.MESSAGES, percentile=100.0, headroom=1.0):
    return {
        each.tier: tuple(rate.limit for rate in each.rates)
        for each in traffic.suggest(percentile, headroom)
        if each.count is count
    }


def burst(number, *, at=0.0, who="acme", tier="verified", recipients=1, size_bytes=1):
    return [Sent(at, who, tier, recipients, size_bytes) for _ in range(number)]


@pytest.mark.parametrize(
    ("number", "headroom", "limit"),
    [(1, 1, 10), (10, 1, 10), (11, 1, 11), (50, 2, 100), (101, 1, 110), (1234, 1, 1300), (999, 1, 1000)],
)  # fmt: skip
def test_round_numbers_with_headroom(number, headroom, limit):
    assert rates(traffic_of(*burst(number)), headroom=headroom) == {"verified": (limit, limit)}


def test_a_rare_peak_does_not_set_the_limit_unless_it_is_asked_for():
    quiet = [each for hour in range(99) for each in burst(20, at=hour * HOUR)]
    traffic = traffic_of(*quiet, *burst(5000, at=99 * HOUR))
    assert rates(traffic, percentile=99)["verified"][0] == 20
    assert rates(traffic, percentile=100)["verified"][0] == 5000


def test_recipients_and_bytes_are_counted_too():
    traffic = traffic_of(*burst(10, recipients=30, size_bytes=5_000_000))
    assert rates(traffic, Count.RECIPIENTS) == {"verified": (300, 300)}
    assert rates(traffic, Count.BYTES) == {"verified": (50_000_000, 50_000_000)}


def test_tiers_and_clients_are_kept_apart():
    traffic = traffic_of(
        *burst(40), *burst(40, who="globex"), *burst(90, who="192.0.2.0/24", tier="unknown")
    )
    assert rates(traffic) == {"verified": (40, 40), "unknown": (90, 90)}
    clients = {each.tier: each.clients for each in traffic.suggest(99, 2)}
    assert clients == {"verified": 2, "unknown": 1}


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=200))
def test_with_room_for_twice_the_busiest_hour_and_day_nobody_waits(moments):
    past = [Sent(float(each), "acme", "verified", 1, 1) for each in sorted(moments)]
    traffic = traffic_of(*past)
    found = {(each.count, each.tier): each.rates for each in traffic.suggest(100, 2)}
    assert not would_wait(past, found)


def test_whom_a_limit_holds_up():
    limits = {(Count.MESSAGES, "verified"): (Rate(3, HOUR),)}
    past = burst(5) + burst(5, who="globex") + burst(9, tier="trusted", who="big")
    assert would_wait(past, limits) == {(Count.MESSAGES, "verified"): 4}
