"""Keeps the SQLite file and its log small: one process of a host does, another takes over after it.

What is over is forgotten a few rows at a time; the log is brought into the file in a thread, for that
waits for the disk. Knows when, not how.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from relay.errors import Unavailable
from relay.state.sqlite import FADING_TABLES
from relay.state.sqlite_file import Lock, checkpoint, log_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from relay.state.sqlite import SqliteStore

__all__ = ["keep_up"]

log = structlog.get_logger("gatepost")

_LOOK_SECONDS: Final = 0.25
_LONG_LOG_BYTES: Final = 2 * 1024**2
"""From what length on the log is brought into the file; after a crash it has to be read anew."""
_LOG_SECONDS: Final = 10.0
"""How long something may stand in the log alone: what a power cut may cost."""
_STEP_SECONDS: Final = 0.05
_QUICK_STEP_SECONDS: Final = 0.005
_MANY: Final = 100
_ROUND_SECONDS: Final = 10.0


async def keep_up(store: SqliteStore, folder: Path) -> None:
    """Go on until cancelled."""
    duty = Lock(folder / "store.upkeep")
    try:
        while not duty.try_take():  # noqa: ASYNC110  no event of ours tells that a process is gone
            await asyncio.sleep(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(_checkpoint(folder))
            group.create_task(_forget(store))
    finally:
        duty.close()


async def _checkpoint(folder: Path) -> None:
    done_at, done_bytes = time.monotonic(), 0
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        length = log_bytes(folder)
        is_due = time.monotonic() - done_at > _LOG_SECONDS
        if length > _LONG_LOG_BYTES or (is_due and length != done_bytes):
            try:
                await asyncio.to_thread(checkpoint, folder)
            except (Unavailable, OSError) as error:
                log.warning("state not checkpointed", error=str(error))
            done_at, done_bytes = time.monotonic(), log_bytes(folder)


async def _forget(store: SqliteStore) -> None:
    while True:
        try:
            for table in FADING_TABLES:
                await _forget_of(store, table)
            await store.forget_restrictions(time.time())
        except Unavailable as error:
            log.warning("state not tidied up", error=str(error))
        await asyncio.sleep(_ROUND_SECONDS)


async def _forget_of(store: SqliteStore, table: str) -> None:
    """Walk through a table once, the quicker the more is over."""
    after = ""
    while True:
        after, forgotten = await store.forget(table, after, time.time())
        if not after:
            return
        await asyncio.sleep(_QUICK_STEP_SECONDS if forgotten > _MANY else _STEP_SECONDS)
