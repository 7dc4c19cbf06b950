from __future__ import annotations

import gc
from datetime import timedelta
from typing import Any

from relay.net.deadline import Deadline


class FakeLoop:
    """Time stands still until `advance`; every timer ever asked for is counted."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Any) -> FakeTimer:
        self.made += 1
        timer = FakeTimer(self, when, call)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in [each for each in self.timers if each.when <= self.now]:
            self.timers.remove(timer)
            timer.call()


class FakeTimer:
    def __init__(self, loop: FakeLoop, when: float, call: Any) -> None:
        self.loop, self.when, self.call = loop, when, call

    def cancel(self) -> None:
        self.loop.timers.remove(self)


def make() -> tuple[FakeLoop, Deadline, list[float]]:
    loop, passed = FakeLoop(), []
    return loop, Deadline(loop, lambda: passed.append(loop.now)), passed  # type: ignore[arg-type]


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_it_passes_at_its_time_and_not_before() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(5))
    loop.advance(4)
    assert (passed, deadline.has_passed) == ([], False)
    loop.advance(1)
    assert (passed, deadline.has_passed) == ([105.0], True)


def test_a_later_one_replaces_an_earlier_one_without_a_new_timer() -> None:
    loop, deadline, passed = make()
    for _ in range(1000):
        deadline.set(seconds(5))
        loop.advance(0.001)
    assert loop.made == 1
    loop.advance(4)
    assert passed == []
    loop.advance(5)
    assert len(passed) == 1
    assert loop.made == 2


def test_an_earlier_one_replaces_a_later_one() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(300))
    deadline.set(seconds(2))
    loop.advance(2)
    assert passed == [102.0]
    assert loop.timers == []


def test_none_lifts_it() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(5))
    deadline.set(None)
    loop.advance(1000)
    assert (passed, deadline.has_passed) == ([], False)


def test_setting_it_anew_forgets_that_it_has_passed() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(1))
    loop.advance(1)
    deadline.set(seconds(1))
    assert not deadline.has_passed
    loop.advance(1)
    assert passed == [101.0, 102.0]


def test_a_stopped_one_leaves_no_timer() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(1))
    deadline.stop()
    deadline.stop()
    loop.advance(10)
    assert (passed, loop.timers) == ([], [])


def test_once_stopped_it_starts_no_timer_and_holds_nobody() -> None:
    loop, deadline, passed = make()
    deadline.set(seconds(5))
    deadline.stop()
    deadline.set(seconds(1))
    assert loop.timers == []
    loop.advance(10)
    assert (passed, deadline.has_passed) == ([], False)
    assert not any(callable(each) for each in gc.get_referents(deadline) if each is not Deadline)


def test_the_life_of_a_short_connection_takes_one_timer() -> None:
    loop, deadline, _ = make()
    for after in (300, 30, 300, 2):  # the greeting, the handshake, commands, the end
        deadline.set(seconds(after))
        loop.advance(0.01)
    deadline.stop()
    assert (loop.made, loop.timers) == (1, [])
