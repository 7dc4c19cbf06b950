"""Whose turn it is to write into the SQLite file, so that nobody's event loop ever waits.

Who finds nobody writing does its work at once. Otherwise calls queue up, and when our turn has come
they are done together, in one transaction. Knows a connection and its lock, and no table.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from relay.errors import Unavailable
from relay.state.sqlite_file import FILE_NAME, Lock, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from pathlib import Path

__all__ = ["Turns"]

_T = TypeVar("_T")

_RETRY_SECONDS: Final = 0.001
_LONGEST_RETRY_SECONDS: Final = 0.008
_TURN_SECONDS: Final = 0.002
"""How long calls that have queued up may hold the event loop at a time."""


class _Call(NamedTuple):
    """A call that waits for its turn."""

    work: Callable[[], Any]
    result: asyncio.Future[Any]


class Turns:
    """Reads and writes through one connection.

    Args:
        connection: without a time-out of its own.
        folder: where the file is.
        timeout: how long a call may wait for other processes.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path, timeout: timedelta) -> None:
        self._connection = connection
        self._path = folder / FILE_NAME
        self._timeout = timeout.total_seconds()
        self._lock = Lock(folder / "store.lock")
        self._queue: list[_Call] = []
        self._retries = 0

    async def read(self, work: Callable[[], _T]) -> _T:
        """Do what only reads: nobody is in the way but who repairs the file after a crash.

        Raises:
            Unavailable: it can't be read.
        """
        end = 0.0
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                end = end or time.monotonic() + self._timeout
                if not is_busy(error) or time.monotonic() > end:
                    raise self._unavailable(error) from error
            await asyncio.sleep(_RETRY_SECONDS)

    async def write(self, work: Callable[[], _T]) -> _T:
        """Do what writes, all of it or nothing; at once if nobody else is at it, else in turn.

        Raises:
            Unavailable: our turn did not come in time, or it can't be written.
        """
        if not self._queue and self._begin():
            return cast("_T", self._finish([work])[0])
        call = _Call(work, asyncio.get_running_loop().create_future())
        self._queue.append(call)
        if len(self._queue) == 1:
            self._retries = 0
            self._try_later()
        try:
            async with asyncio.timeout(self._timeout):
                return cast("_T", await call.result)
        except TimeoutError as error:
            raise Unavailable(f"{self._path}: others write all the time") from error

    async def close(self) -> None:
        """Close the connection; what still waits is given up."""
        for call in self._queue:
            call.result.cancel()
        self._queue.clear()
        # The last one to leave brings the log into the file, which waits for the disk.
        await asyncio.to_thread(self._connection.close)
        self._lock.close()

    def _begin(self) -> bool:
        """Begin to write; False if somebody else is at it."""
        if not self._lock.try_take():
            return False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._lock.give()
            if is_busy(error):  # somebody's sqlite3 shell, say
                return False
            raise self._unavailable(error) from error
        return True

    def _finish(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do as much as a turn has time for in the transaction that was begun, and end that."""
        results = []
        end = time.monotonic() + _TURN_SECONDS
        try:
            for work in works:
                results.append(work())
                if time.monotonic() > end:
                    break
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        finally:
            self._lock.give()
        return results

    def _take_turn(self) -> None:
        """Do what has queued up, if it is our turn; come again until nothing is left."""
        # Whose caller has gone, having waited for too long, must not be charged.
        self._queue = [call for call in self._queue if not call.result.done()]
        results: list[Any] = []
        try:
            if self._queue and self._begin():
                self._retries = 0
                results = self._finish([call.work for call in self._queue])
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            for call in self._queue:
                call.result.set_exception(error)
            self._queue.clear()
        for call, result in zip(self._queue, results, strict=False):
            call.result.set_result(result)
        del self._queue[: len(results)]
        if self._queue:
            self._try_later()

    def _try_later(self) -> None:
        """Have `_take_turn` called: soon at first, then at lengthening intervals."""
        loop = asyncio.get_running_loop()
        if not self._retries:
            loop.call_soon(self._take_turn)
        else:
            longest = min(_RETRY_SECONDS * self._retries, _LONGEST_RETRY_SECONDS)
            loop.call_later(random.uniform(0, longest), self._take_turn)  # noqa: S311  no secret
        self._retries += 1

    def _unavailable(self, error: sqlite3.Error) -> Unavailable:
        return Unavailable(f"{self._path}: {error}")
