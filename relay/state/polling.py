"""Waiting for another version than one that is known, where a store has to be looked at for it.

Knows no store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

__all__ = ["another_version"]


async def another_version(
    known: int,
    timeout: timedelta,
    *,
    look: Callable[[], Awaitable[int]],
    wait: Callable[[float], Awaitable[object]],
) -> int:
    """Wait for another version than `known`; return it, or `known` when the time is over.

    Args:
        known: the version that is known.
        timeout: how long to wait in all.
        look: says which one there is.
        wait: waits until it is worth a look, for the seconds it is given at most.
    """
    end = time.monotonic() + timeout.total_seconds()
    while (found := await look()) == known:
        left = end - time.monotonic()
        if left <= 0:
            break
        await wait(left)
    return found
