"""Long computations in short steps: between two of them whoever else is due has a turn.

A computation is a generator that yields after half a millisecond or so, and returns its result. In another
thread it would hold the event loop up for longer: docs/decisions/0039. It knows nothing of what is computed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeAlias, TypeVar, cast

__all__ = ["Steps", "at_once", "in_turns"]

_T = TypeVar("_T")
Steps: TypeAlias = Generator[None, None, _T]


def at_once(steps: Steps[_T]) -> _T:
    """Compute without a break."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("_T", end.value)


async def in_turns(steps: Steps[_T]) -> _T:
    """Compute, and let the event loop go on after each step but the last."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("_T", end.value)
        await asyncio.sleep(0)
