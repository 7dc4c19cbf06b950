"""The audit trail on disk: one JSON line a record, appended by all workers to the same file.

A record is one `write` on a descriptor opened with O_APPEND, so lines of several processes never
mix. It must not know what the fields mean; `record.py` lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
import structlog

from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AuditLog"]

_MODE = 0o640
_SYNC_DELAY_SECONDS = 1.0

_synchronise = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class AuditLog:
    """Implements `ports.AuditSink`. The file is opened with the first record.

    Args:
        path: the file.
        sync: "second" (on disk within a second) or "always" (`flushed` waits for the disk).
        node: our host name, in every record.
    """

    def __init__(self, path: Path, *, sync: Literal["second", "always"], node: str) -> None:
        self._path = Path(path)
        self._waits_for_disk = sync == "always"
        self._node = node
        self._descriptor = -1
        self._is_torn = False
        self._second = 0
        self._second_text = ""
        self._timer: asyncio.TimerHandle | None = None
        self._sync_running: asyncio.Task[None] | None = None
        self._sync_next: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    def record(self, kind: str, fields: Mapping[str, object]) -> None:
        """Append one record. Raises Unavailable if it can't be kept (the disk is full, say)."""
        line = _encode({"time": self._now(), "node": self._node, "kind": kind, **fields})
        try:
            if self._descriptor < 0:
                self._open()
            self._write(line)
        except OSError as error:
            raise Unavailable(f"audit record not written to {self._path}: {error}") from error
        if self._timer is None and not self._waits_for_disk:
            self._sync_within_a_second()

    async def flushed(self) -> None:
        """Wait until all that was recorded is as safe as `sync` asks; callers share one sync.

        Raises:
            Unavailable: the disk did not take it.
        """
        if not self._waits_for_disk or self._descriptor < 0:
            return
        # A sync that is already running may have begun before our record was written, so it proves
        # nothing to us; everybody who asks meanwhile shares the one after it.
        if self._sync_next is None:
            self._sync_next = asyncio.create_task(self._sync_after(self._sync_running))
        try:
            await asyncio.shield(self._sync_next)
        except OSError as error:
            raise Unavailable(f"audit trail not on disk: {error}") from error

    def fault(self, message: str, error: BaseException) -> str:
        """Log an unexpected exception with its traceback; return the log id for the reply."""
        log_id = secrets.token_hex(6).upper()
        self._log.error(message, log_id=log_id, exc_info=error)
        return log_id

    def reopen(self) -> None:
        """Go on in a new file, once the old one has been moved away (SIGUSR1).

        If it can't be opened, records go on into the old one.
        """
        old = self._descriptor
        if old < 0:
            return
        try:
            self._open()
        except OSError as error:
            self._log.error("audit file not reopened", path=str(self._path), error=str(error))
            return
        try:
            asyncio.get_running_loop().run_in_executor(None, _finish, old)
        except RuntimeError:  # no loop
            _finish(old)

    async def close(self) -> None:
        """Bring everything to disk and close the file."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        running = [task for task in (self._sync_running, self._sync_next) if task is not None]
        if running:
            await asyncio.wait(running)
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            await asyncio.to_thread(_finish, descriptor)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, _MODE)
        if os.geteuid() == 0:
            _give_to_owner_of_folder(self._descriptor, self._path)

    def _write(self, line: bytes) -> None:
        if self._is_torn:  # half a record ends here; keep the next one readable
            line = b"\n" + line
        written = os.write(self._descriptor, line)
        self._is_torn = written < len(line)
        if self._is_torn:  # a disk that is nearly full takes a part, then says why
            os.write(self._descriptor, line[written:])
            self._is_torn = False

    def _now(self) -> str:
        milliseconds = time.time_ns() // 1_000_000
        second, milliseconds = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{milliseconds:03d}Z"

    def _sync_within_a_second(self) -> None:
        with contextlib.suppress(RuntimeError):  # no loop: `close` or the kernel brings it to disk
            self._timer = asyncio.get_running_loop().call_later(
                _SYNC_DELAY_SECONDS, self._sync_in_background
            )

    def _sync_in_background(self) -> None:
        self._timer = None
        if self._sync_running is None:
            self._sync_running = asyncio.create_task(self._sync_quietly())

    async def _sync_quietly(self) -> None:
        try:
            await self._sync()
        except OSError as error:
            self._log.error("audit trail not on disk", path=str(self._path), error=str(error))
        finally:
            self._sync_running = None

    async def _sync_after(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        self._sync_running, self._sync_next = self._sync_next, None
        try:
            await self._sync()
        finally:
            self._sync_running = None

    async def _sync(self) -> None:
        """Run the slow part in a thread, on a descriptor that `reopen` can't close meanwhile."""
        copy = os.dup(self._descriptor)
        try:
            await asyncio.to_thread(_synchronise, copy)
        finally:
            os.close(copy)


def _encode(record: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(record, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Lone surrogates, from bytes that were no UTF-8; the standard library escapes them.
        return json.dumps(record, default=str).encode() + b"\n"


def _give_to_owner_of_folder(descriptor: int, path: Path) -> None:
    """What root opens first, those who come after must be able to append to."""
    folder, file = path.parent.stat(), os.fstat(descriptor)
    if file.st_uid == 0 and folder.st_uid != 0:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def _finish(descriptor: int) -> None:
    try:
        _synchronise(descriptor)
    finally:
        os.close(descriptor)
