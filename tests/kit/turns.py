"""Counts how often a coroutine lets the event loop go on, which no clock is needed for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["counting_turns", "with_turns"]

_T = TypeVar("_T")


async def counting_turns(work: Awaitable[_T]) -> tuple[_T, int]:
    """Wait for it; return its result, and how many turns another task had meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    try:
        return await work, turns
    finally:
        other.cancel()


def with_turns(work: Awaitable[_T]) -> tuple[_T, int]:
    """Run it on an event loop of its own, and count the turns."""
    return asyncio.run(counting_turns(work))
