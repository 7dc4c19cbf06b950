"""Long work in short steps: between two of them whoever else is due has a turn on the event loop.

A computation is a generator that yields after half a millisecond or so, and returns its result. In another
thread it would hold the event loop up for longer: docs/decisions/0041. It knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar, cast

__all__ = ["Steps", "at_once", "give_way", "in_turns"]

_T = TypeVar("_T")
Steps: TypeAlias = Generator[None, None, _T]

_TURNS: Final = 3
"""A small message needs a dozen turns: each would take as long as a step, were there one in each."""


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


async def give_way() -> None:
    """Let others have some turns, after a large piece of a message has been worked on."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
