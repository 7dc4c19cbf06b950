"""Units of a limit that are bought in advance: one call of the store for many messages of who sends much.

A worker that is asked often for units of the same limits buys twice as many each time, and fewer again once
they last longer. What it has bought and not used when its client falls silent is lost: so it never buys
more than a thousandth of a limit, and limits below 2,000 are counted one by one, exactly. Arithmetic only;
knows no store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.model import Charge

__all__ = ["Account", "most_in_advance"]

_SHARE: Final = 1_000
_MAX_UNITS: Final = 64
_QUICK_SECONDS: Final = 0.1
_LAPSE_SECONDS: Final = 1.0


def most_in_advance(charges: Iterable[Charge]) -> int:
    """How many units of these limits may be bought at a time."""
    return min(_MAX_UNITS, *(charge.limit // _SHARE for charge in charges))


class Account:
    """What one worker has bought for one client."""

    __slots__ = ("_ordered", "_size", "left")

    def __init__(self) -> None:
        self.left = 0
        """Units that are paid for."""
        self._size = 1
        self._ordered = -math.inf

    def take(self, clock: float) -> bool:
        """Take one unit; False if none is left, or they have lapsed. `clock` is monotonic, in seconds."""
        if not self.left or clock - self._ordered > _LAPSE_SECONDS:
            return False
        self.left -= 1
        return True

    def order(self, most: int, clock: float) -> int:
        """Say how many to buy; what is left of an order that has lapsed is void."""
        elapsed, self._ordered = clock - self._ordered, clock
        if elapsed > _LAPSE_SECONDS:
            self._size, self.left = 1, 0
        elif elapsed < _QUICK_SECONDS:
            self._size *= 2
        else:
            self._size = self._size // 2 or 1
        self._size = min(self._size, most)
        return self._size
