"""Units of a limit that are bought in advance: one call of the store for many messages of who sends much.

A worker that is asked often for units of the same limits buys twice as many each time, and fewer again once
they last longer. What it has bought and not used when its client falls silent is lost: so it never buys
more than a thousandth of a limit, nor more than a sixteenth of what its client has used since it came, for
silence may come again and again. Limits below 2,000 are counted one by one, exactly. Arithmetic only; knows
no store.
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
_USED_FOR_EACH: Final = 16
_QUICK_SECONDS: Final = 0.1
_LAPSE_SECONDS: Final = 1.0


def most_in_advance(charges: Iterable[Charge]) -> int:
    """How many units of these limits may be bought at a time."""
    return min(_MAX_UNITS, *(charge.limit // _SHARE for charge in charges))


class Account:
    """What one worker has bought for one client."""

    __slots__ = ("_ordered", "_size", "_used", "is_buying", "left")

    def __init__(self) -> None:
        self.left = 0
        """Units that are paid for."""
        self.is_buying = False
        """Whether an order is under way: who comes meanwhile, be it a thousand at once, buys one."""
        self._size = 1
        self._used = 0
        self._ordered = -math.inf

    def take(self, clock: float) -> bool:
        """Take one unit; False if none is left, or they have lapsed. `clock` is monotonic, in seconds."""
        if not self.left or clock - self._ordered > _LAPSE_SECONDS:
            return False
        self.left -= 1
        self._used += 1
        return True

    def order(self, most: int, clock: float) -> int:
        """Say how many to buy, one of them for use; what is left of an order that has lapsed is void."""
        if self.is_buying:
            self._used += 1
            return 1
        elapsed, self._ordered = clock - self._ordered, clock
        if elapsed > _LAPSE_SECONDS:
            self._size, self._used, self.left = 1, 0, 0
        elif elapsed < _QUICK_SECONDS:
            self._size *= 2
        else:
            self._size //= 2
        self._used += 1
        self._size = max(1, min(self._size, most, self._used // _USED_FOR_EACH))
        return self._size
