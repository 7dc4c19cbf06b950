"""Counts how often a coroutine lets the event loop go on, which no clock is needed for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["with_turns"]

_T = TypeVar("_T")


def with_turns(work: Awaitable[_T]) -> tuple[_T, int]:
    """Run it; return its result, and how many turns another task had meanwhile."""

    async def run() -> tuple[_T, int]:
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

    return asyncio.run(run())
