"""Sums that fade: each addition counts half after its half-life. Arithmetic only.

`state/scripts/add_scores.lua` does the same for Redis; a test holds the two together. Knows no store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from relay.model import Score

__all__ = ["NEGLIGIBLE", "NOTHING", "Sum"]

NEGLIGIBLE: Final = 0.001
"""A sum below this counts as nothing and is forgotten."""


class Sum(NamedTuple):
    """A decaying sum: what it was at a moment, and how fast it fades."""

    value: float
    at: float
    half_life: float

    def value_at(self, now: float) -> float:
        """What is left of it."""
        # A node whose clock is behind must not see it grow.
        left = self.value * 2.0 ** (-max(now - self.at, 0.0) / self.half_life)
        return left if abs(left) >= NEGLIGIBLE else 0.0

    def plus(self, score: Score, now: float) -> Sum:
        """The sum with one addition."""
        return Sum(self.value_at(now) + score.weight, max(now, self.at), score.half_life)

    def negligible_at(self) -> float:
        """The moment from which nothing is left of it."""
        if abs(self.value) < NEGLIGIBLE:
            return self.at
        return self.at + self.half_life * math.log2(abs(self.value) / NEGLIGIBLE)


NOTHING: Final = Sum(0.0, 0.0, 1.0)
"""The sum of a subject that nothing is known of."""
