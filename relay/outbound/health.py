"""Whether a host may be asked: failures keep it off for 1 second to a minute, ever longer.

Knows nothing of connections. While a host is in doubt only one at a time tries it, so that a host
that swallows packets costs one sender the wait, not all of them.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.ports import Clock

__all__ = ["Health"]

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_SPREAD = 0.25
"""A pause is shortened by up to this share, so that workers and nodes do not come all at once."""


class Health:
    """One host's record. Whoever `begin`s must end with `succeeded`, `failed` or `abandoned`."""

    __slots__ = ("_clock", "_is_tried", "_retry_at", "failures", "problem")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_tried = False
        self._retry_at = 0.0
        self.failures = 0
        self.problem = ""
        """What went wrong last, for people."""

    @property
    def pause(self) -> float:
        """Seconds until the host is due again; 0 if it is."""
        return max(0.0, self._retry_at - self._clock.monotonic()) if self.failures else 0.0

    def admits(self, *, as_last_resort: bool = False) -> bool:
        """Whether to try the host now; as a last resort also before its time has come."""
        if not self.failures:
            return True
        return not self._is_tried and (as_last_resort or self.pause == 0)

    def begin(self) -> None:
        """Note that the host is being tried."""
        self._is_tried = self.failures > 0

    def abandoned(self) -> None:
        """Note that the trial was called off."""
        self._is_tried = False

    def succeeded(self) -> None:
        """Note that the host is there."""
        self._is_tried = False
        self.failures = 0
        self.problem = ""

    def failed(self, problem: str) -> None:
        """Note that the host did not come to speak, and why."""
        self.problem = problem
        if self.pause > 0 and not self._is_tried:
            return  # one of several tries that went on at the same time: counted already
        self._is_tried = False
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.failures, 16))
        chance = zlib.crc32(self._clock.reference().encode()) / 2**32
        self.failures += 1
        self._retry_at = self._clock.monotonic() + pause * (1 - _SPREAD * chance)
