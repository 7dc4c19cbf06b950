"""The audit trail on disk: whole lines from many processes, on disk when asked, or an error."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import threading
from typing import TYPE_CHECKING, Literal

import pytest

from relay.audit import log
from relay.audit.log import AuditLog
from relay.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path


def make(path: Path, sync: Literal["second", "always"] = "second") -> AuditLog:
    return AuditLog(path, sync=sync, node="edge.example.org")


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_one_line_with_time_node_and_kind_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    make(path).record("refusal", {"reply": "554 5.7.1 no\r\nline two", "size_bytes": 3})
    (record,) = records(path)
    assert list(record) == ["time", "node", "kind", "reply", "size_bytes"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(record["time"]))
    assert record["node"] == "edge.example.org"
    assert path.read_bytes().count(b"\n") == 1


def test_the_file_is_closed_to_strangers(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    make(path).record("admin", {})
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_opens_first_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 4711, 4712)
    make(folder / "audit.jsonl").record("admin", {})
    found = (folder / "audit.jsonl").stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712)


def test_text_that_was_no_utf8_is_kept_escaped(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    make(path).record("refusal", {"helo": b"\xff".decode("utf-8", "surrogateescape")})
    assert records(path)[0]["helo"] == "\udcff"


def test_processes_share_the_file_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:  # pragma: no cover  (in the child)
            trail = make(path)
            for count in range(200):
                trail.record("refusal", {"from": number, "count": count, "text": "x" * 500})
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert len(records(path)) == 800


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        make(tmp_path / "nowhere" / "audit.jsonl").record("refusal", {})


def test_a_full_disk_is_unavailable_and_leaves_the_next_line_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    trail = make(path)
    trail.record("refusal", {"number": 1})
    real, room = os.write, [10]

    def write(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: room.pop()])

    monkeypatch.setattr(log.os, "write", write)
    with pytest.raises(Unavailable, match="No space left"):
        trail.record("refusal", {"number": 2})
    monkeypatch.undo()
    trail.record("refusal", {"number": 3})
    first, torn, third = path.read_bytes().splitlines()
    assert json.loads(first)["number"] == 1
    assert len(torn) == 10
    assert json.loads(third)["number"] == 3


def test_a_partial_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = os.write, [7, None]
    monkeypatch.setattr(log.os, "write", lambda fd, data: real(fd, data[: sizes.pop(0)]))
    path = tmp_path / "audit.jsonl"
    make(path).record("refusal", {"number": 1})
    assert records(path)[0]["number"] == 1


def test_reopening_follows_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = make(path)
    trail.record("refusal", {"number": 1})
    path.rename(tmp_path / "audit.jsonl.1")
    trail.record("refusal", {"number": 2})
    trail.reopen()
    trail.record("refusal", {"number": 3})
    assert [record["number"] for record in records(tmp_path / "audit.jsonl.1")] == [1, 2]
    assert [record["number"] for record in records(path)] == [3]


def test_reopening_that_fails_goes_on_in_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    trail = make(folder / "audit.jsonl")
    trail.record("refusal", {"number": 1})
    folder.rename(tmp_path / "moved")
    trail.reopen()
    trail.record("refusal", {"number": 2})
    assert len(records(tmp_path / "moved" / "audit.jsonl")) == 2


class Disk:
    """Stands in for fdatasync: counts, and can be held."""

    def __init__(self) -> None:
        self.count = 0
        self.open = threading.Event()
        self.error: OSError | None = None

    def __call__(self, _: int) -> None:
        assert self.open.wait(5)
        self.count += 1
        if self.error:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(log, "_synchronise", made)
    return made


def test_always_waits_for_the_disk_and_shares_the_wait(tmp_path: Path, disk: Disk) -> None:
    async def run() -> None:
        trail = make(tmp_path / "audit.jsonl", "always")
        trail.record("refusal", {})
        first = asyncio.create_task(trail.flushed())
        while trail._sync_running is None:  # the first sync is under way
            await asyncio.sleep(0)
        later = [asyncio.create_task(trail.flushed()) for _ in range(20)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in (first, *later))
        disk.open.set()
        await asyncio.wait_for(asyncio.gather(first, *later), 5)
        assert disk.count == 2
        await trail.close()

    asyncio.run(run())


def test_always_says_when_the_disk_fails(tmp_path: Path, disk: Disk) -> None:
    async def run() -> None:
        trail = make(tmp_path / "audit.jsonl", "always")
        trail.record("refusal", {})
        disk.open.set()
        disk.error = OSError(errno.EIO, "Input/output error")
        with pytest.raises(Unavailable):
            await asyncio.wait_for(trail.flushed(), 5)
        disk.error = None
        await asyncio.wait_for(trail.flushed(), 5)
        await trail.close()

    asyncio.run(run())


def test_second_does_not_wait_but_syncs_soon(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_SYNC_DELAY_SECONDS", 0.0)
    disk.open.set()

    async def run() -> None:
        trail = make(tmp_path / "audit.jsonl")
        for _ in range(50):
            trail.record("refusal", {})
        await trail.flushed()
        assert disk.count == 0
        async with asyncio.timeout(5):
            while not disk.count:
                await asyncio.sleep(0.001)
        assert disk.count == 1
        await trail.close()

    asyncio.run(run())


def test_closing_brings_everything_to_disk(tmp_path: Path, disk: Disk) -> None:
    disk.open.set()

    async def run() -> None:
        trail = make(tmp_path / "audit.jsonl")
        trail.record("refusal", {})
        await trail.close()

    asyncio.run(run())
    assert disk.count == 1


def test_a_fault_is_logged_with_its_traceback_under_an_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        log_id = make(tmp_path / "audit.jsonl").fault("session failed", error)
    said = capsys.readouterr()
    assert log_id in said.out + said.err
    assert "RuntimeError" in said.out + said.err
    assert re.fullmatch(r"[0-9A-Z]{12}", log_id)
