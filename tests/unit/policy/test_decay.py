"""Sums that fade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Score
from relay.policy.decay import NEGLIGIBLE, NOTHING, Sum

NOW = 1_800_000_000.0


def test_half_is_left_after_a_half_life():
    kept = NOTHING.plus(Score("a", 8.0, 60.0), NOW)
    assert [kept.value_at(NOW + seconds) for seconds in (0, 60, 120)] == [8.0, 4.0, 2.0]


def test_additions_add_to_what_is_left():
    kept = NOTHING.plus(Score("a", 8.0, 60.0), NOW).plus(Score("a", 1.0, 60.0), NOW + 60)
    assert kept == Sum(5.0, NOW + 60, 60.0)


def test_it_does_not_grow_when_a_clock_goes_back():
    kept = Sum(4.0, NOW, 60.0)
    assert kept.value_at(NOW - 3600) == 4.0
    assert kept.plus(Score("a", 1.0, 60.0), NOW - 3600) == Sum(5.0, NOW, 60.0)


def test_good_and_bad_cancel_out():
    kept = NOTHING.plus(Score("a", 3.0, 60.0), NOW).plus(Score("a", -3.0, 60.0), NOW)
    assert kept.value_at(NOW) == 0.0
    assert kept.negligible_at() == NOW


@given(st.floats(-1000, 1000), st.floats(0.1, 1e6))
def test_nothing_is_left_from_the_moment_it_says(value, half_life):
    kept = Sum(value, 0.0, half_life)
    end = kept.negligible_at()
    assert kept.value_at(end * 1.000001 + 1e-6) == 0.0
    if abs(value) > 2 * NEGLIGIBLE:
        assert kept.value_at(end * 0.99) != 0.0


def test_much_time_is_no_overflow():
    assert Sum(1e300, 0.0, 1e-3).value_at(1e18) == 0.0
    assert Sum(5.0, 0.0, 60.0).value_at(0.0) == pytest.approx(5.0)
