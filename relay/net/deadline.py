"""One deadline that is moved often and passes hardly ever: a single event-loop timer, set anew lazily.

Knows nothing of what is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import timedelta

__all__ = ["Deadline"]

_FIRST_LOOK_SECONDS: Final = 2.0
"""When the first timer fires at the latest: many connections are over by then, and what is set for them
in between, the two seconds for their end too, comes later and needs no timer of its own."""


class Deadline:
    """Calls `on_passed` when the time that was last set has come.

    A later deadline only moves the mark; the timer, when it fires too early, is set anew. So
    setting one per command costs no timer per command.
    """

    __slots__ = ("_at", "_loop", "_on_passed", "_timer", "_timer_at", "has_passed")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_passed: Callable[[], None]) -> None:
        self.has_passed = False
        self._loop = loop
        self._on_passed: Callable[[], None] | None = on_passed
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, after: timedelta | None) -> None:
        """Start anew: `after` from now; None for never."""
        self.has_passed = False
        if after is None or self._on_passed is None:
            self._at = None
            return
        now = self._loop.time()
        self._at = now + after.total_seconds()
        if self._timer is None:
            self._start_timer(min(self._at, now + _FIRST_LOOK_SECONDS))
        elif self._timer_at > self._at:
            self._start_timer(self._at)

    def stop(self) -> None:
        """Forget the deadline, its timer and whom to call, for good.

        Whose connection is lost may still set one; it must neither keep a timer running nor, by a
        reference in a circle, leave all that belongs to the connection to the garbage collector.
        """
        self._at = None
        self._on_passed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)
        self._timer_at = at

    def _look(self) -> None:
        self._timer = None
        if self._at is None or self._on_passed is None:
            return
        if self._loop.time() < self._at:
            self._start_timer(self._at)
        else:
            self.has_passed = True
            self._on_passed()
