"""A process that charges counters of a SQLite store as fast as it can, and says how far it has come.

`python -m tests.kit.store_hammer FOLDER TALLY SLOT`; with FOLDER alone it does the upkeep instead. Each of its tasks has a slot in the file TALLY: how
many charges it has begun, and how many were acknowledged; that stays when the process is killed. The
last slot holds the longest time in microseconds for which its event loop was held up, and how often
that was longer than it may be.
"""

from __future__ import annotations

import asyncio
import mmap
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from relay.model import Charge, Score
from relay.state.sqlite import SqliteStore
from relay.state.sqlite_upkeep import keep_up

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIMIT", "NOW", "SLOT_BYTES", "TASKS", "Progress", "counted"]

TASKS = 4
SLOT_BYTES = 16 * (TASKS + 1)
NOW = 1_800_000_000.0
"""Time stands still, and a limit lets one pass a second: a key's moment then counts its charges."""
LIMIT = 10**8
STALL_SECONDS = 0.020


class Progress:
    """The slots of one process in the tally file."""

    def __init__(self, tally: Path, slot: int) -> None:
        with tally.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._first = slot * SLOT_BYTES // 8

    def of(self, task: int) -> tuple[int, int]:
        """How many charges a task has begun, and how many were acknowledged."""
        place = self._first + 2 * task
        return self._cells[place], self._cells[place + 1]

    def begin(self, task: int) -> None:
        self._cells[self._first + 2 * task] += 1

    def acknowledge(self, task: int) -> None:
        self._cells[self._first + 2 * task + 1] += 1

    @property
    def longest_stall(self) -> float:
        """In seconds."""
        return self._cells[self._first + 2 * TASKS] / 1e6

    @property
    def long_stalls(self) -> int:
        """How many were longer than STALL_SECONDS."""
        return self._cells[self._first + 2 * TASKS + 1]

    def note_turn(self, seconds: float) -> None:
        place = self._first + 2 * TASKS
        self._cells[place] = max(self._cells[place], int(seconds * 1e6))
        self._cells[place + 1] += seconds > STALL_SECONDS


def charge_of(key: str) -> Charge:
    """One of a limit that never ends."""
    return Charge(key, 1, LIMIT, float(LIMIT))


async def counted(store: SqliteStore, key: str) -> int:
    """How often a key was charged."""
    rest = (await store.spend([Charge(key, LIMIT, LIMIT, float(LIMIT))], NOW))[0]
    return round(rest)


async def _charge(store: SqliteStore, progress: Progress, slot: int, task: int) -> None:
    charges = [charge_of(f"own:{slot}:{task}"), charge_of("shared"), charge_of("shared too")]
    subject = f"subject:{task}"
    while True:
        progress.begin(task)
        waits = await store.spend(charges, NOW)
        assert not any(waits), waits
        progress.acknowledge(task)
        await store.scores([subject], NOW)
        await store.add_scores([Score(subject, 1.0, 3600.0)], NOW)
        await asyncio.sleep(0)


async def _measure(progress: Progress) -> None:
    """Note the longest time between two turns of the loop, but for what the scheduler gave to others."""
    switches: Callable[[], int] = lambda: resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw  # noqa: E731
    while True:
        before, wall, cpu = switches(), time.perf_counter(), time.thread_time()
        await asyncio.sleep(0)
        took = time.perf_counter() - wall
        if switches() != before:
            took = time.thread_time() - cpu
        progress.note_turn(took)


async def _main(folder: Path, tally: Path, slot: int) -> None:
    store = SqliteStore.open(folder, timedelta(seconds=10))
    progress = Progress(tally, slot)
    await asyncio.gather(
        _measure(progress),
        *(_charge(store, progress, slot, task) for task in range(TASKS)),
    )


async def _keep_up(folder: Path) -> None:
    await keep_up(SqliteStore.open(folder, timedelta(seconds=10)), folder)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        uvloop.run(_keep_up(Path(sys.argv[1])))
    uvloop.run(_main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
