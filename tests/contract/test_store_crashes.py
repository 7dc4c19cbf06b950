"""The SQLite store when its processes are killed: what was acknowledged is there, no loop is held up."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from relay.state.sqlite import SqliteStore
from relay.state.sqlite_file import FILE_NAME, log_bytes
from tests.kit.store_hammer import SLOT_BYTES, TASKS, Progress, counted

PROCESSES = 4
MOST_PROCESSES = 64


class Crew:
    """Four processes that hammer one store, and one for the upkeep; whoever is killed is replaced."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.tally = folder / "tally"
        self.tally.write_bytes(bytes(SLOT_BYTES * MOST_PROCESSES))
        self.started = 0
        self.running = [self._start() for _ in range(PROCESSES)]
        self.upkeep = self._spawn()

    def _start(self) -> subprocess.Popen:
        self.started += 1
        return self._spawn(self.tally, self.started - 1)

    def _spawn(self, *words) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.kit.store_hammer", self.folder, *words]
        return subprocess.Popen(list(map(str, command)))

    def kill_one(self) -> None:
        number = random.randrange(PROCESSES)
        _kill(self.running[number])
        self.running[number] = self._start()

    def kill_upkeep(self) -> None:
        _kill(self.upkeep)
        self.upkeep = self._spawn()

    def kill_all(self) -> None:
        for each in (*self.running, self.upkeep):
            _kill(each)

    def progress(self) -> list[Progress]:
        return [Progress(self.tally, slot) for slot in range(self.started)]


def _kill(process: subprocess.Popen) -> None:
    ended = process.poll()
    process.kill()
    process.wait(10)
    assert ended is None, "it has ended by itself"


@pytest.mark.parametrize(
    ("seconds", "interval"),
    [pytest.param(10, 2, id="10 s"), pytest.param(60, 5, id="60 s", marks=pytest.mark.slow)],
)
def test_four_processes_and_kill_9(tmp_path, seconds: float, interval: float) -> None:
    crew = Crew(tmp_path)
    longest_log = 0
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(interval)
            longest_log = max(longest_log, log_bytes(tmp_path))
            crew.kill_one()
            if random.random() < 0.3:
                crew.kill_upkeep()
    finally:
        crew.kill_all()

    async def check() -> tuple[int, int]:
        store = SqliteStore.open(tmp_path, timedelta(seconds=10))
        begun = acknowledged = 0
        for slot, progress in enumerate(crew.progress()):
            for task in range(TASKS):
                started, done = progress.of(task)
                # Each task has one operation in flight, so it is that one or none.
                assert done <= await counted(store, f"own:{slot}:{task}") <= started <= done + 1
                begun += started
                acknowledged += done
        for key in ("shared", "shared too"):
            assert acknowledged <= await counted(store, key) <= begun
        await store.close()
        return begun, acknowledged

    begun, acknowledged = asyncio.run(check())
    assert acknowledged > 100 * seconds
    assert begun - acknowledged <= TASKS * crew.started
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    processes = crew.progress()
    print(
        f"{acknowledged / seconds:.0f} a second, log up to {longest_log >> 20} MiB, "
        f"longest stall {1000 * max(each.longest_stall for each in processes):.1f} ms"
    )
    # One is forgiven: on a machine that tests keep busy, the disk may be at fault.
    assert sum(each.long_stalls for each in processes) <= 1
    assert longest_log < 64 * 1024**2
