"""A failing host is left alone for ever longer, and tried by one at a time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from relay.outbound.health import Health
from tests.kit.clock import FakeClock

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health(clock)


def test_a_healthy_host_may_be_tried_by_all(health: Health) -> None:
    assert health.admits()
    health.begin()
    assert health.admits()


def test_pauses_grow_from_a_second_to_a_minute(health: Health, clock: FakeClock) -> None:
    pauses = []
    for _ in range(10):
        health.begin()
        health.failed("down")
        pauses.append(health.pause)
        assert not health.admits()
        clock.advance(timedelta(seconds=health.pause + 0.001))
        assert health.admits()
    for pause, longest in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert 0.75 * longest <= pause <= longest
    assert len({pause / round(pause) for pause in pauses[-3:]}) > 1, "hosts must not come in step"


def test_one_at_a_time_tries_a_host_in_doubt(health: Health, clock: FakeClock) -> None:
    health.failed("down")
    clock.advance(SECOND)
    assert health.admits()
    health.begin()
    assert not health.admits()
    assert not health.admits(as_last_resort=True)
    health.abandoned()
    assert health.admits()


def test_as_a_last_resort_it_is_tried_before_its_time(health: Health) -> None:
    health.failed("down")
    assert not health.admits()
    assert health.admits(as_last_resort=True)


def test_success_forgets_all(health: Health) -> None:
    for _ in range(5):
        health.begin()
        health.failed("down")
    assert health.problem == "down"
    health.succeeded()
    assert (health.admits(), health.pause, health.problem) == (True, 0.0, "")


def test_failures_at_the_same_time_count_once(health: Health) -> None:
    for _ in range(50):
        health.begin()  # all began while the host was thought well
    for _ in range(50):
        health.failed("down")
    assert health.failures == 1
    assert health.pause <= 1
