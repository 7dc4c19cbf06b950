"""What a keeper does besides waiting: its tasks, begun, ended together, and told of where they fail.

Knows nothing of what they do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Tasks"]

log = structlog.get_logger("gatepost")


class Tasks:
    """The tasks of one keeper.

    Args:
        failure: what the log says of one that ends by an exception.
    """

    def __init__(self, failure: str) -> None:
        self._failure = failure
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a task."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """End all of them."""
        for task in self._running:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(self._failure, exc_info=error)
