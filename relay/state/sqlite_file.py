"""The SQLite file of a host: made, opened, brought up to date, checkpointed. Synchronous.

Theory. All workers of a host share one file in WAL mode: readers never wait, one writes at a time.
Two things could hold up a worker's event loop. One is waiting for whoever writes: connections here
never wait (`timeout=0`), and `WriteLock`, an flock that is asked first, says so for a microsecond
instead of a failed BEGIN. The other is the disk: in WAL mode with `synchronous=NORMAL` a commit
waits for no disk, a checkpoint does, and so does the first commit after the log was used up and
begins anew. `checkpoint` therefore does both, in a thread, and holds the write lock for the short
end of it, so that no worker ever meets the fresh log first.

Whatever is killed, SQLite's own locks and checksums keep the file whole: the flock is about time,
not about safety. Knows tables by name only; `sqlite.py` knows what is in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final

import structlog

from relay.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FILE_NAME", "Lock", "checkpoint", "is_busy", "log_bytes", "open_file"]

log = structlog.get_logger("gatepost")

FILE_NAME: Final = "store.sqlite"

_SCHEMAS: Final = (
    # 1: key first and no rowid, so that what belongs together lies on one page
    """
    CREATE TABLE rate (key TEXT PRIMARY KEY, arrival REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE score (
        subject TEXT PRIMARY KEY, value REAL NOT NULL, at REAL NOT NULL, half_life REAL NOT NULL,
        until REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE restriction (
        kind TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, "by" TEXT NOT NULL,
        since REAL NOT NULL, until REAL, times INTEGER NOT NULL, forget_at REAL,
        PRIMARY KEY (kind, subject)
    ) WITHOUT ROWID;
    CREATE TABLE value (key TEXT PRIMARY KEY, value BLOB NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE version (number INTEGER NOT NULL);
    INSERT INTO version VALUES (1);
    CREATE TABLE checkpoint (number INTEGER NOT NULL);
    INSERT INTO checkpoint VALUES (0);
    """,
)
"""What leads from one version of the schema (`PRAGMA user_version`) to the next."""

_PAGE_BYTES: Final = 1024
"""A commit writes whole pages, and checksums them: small ones make it a third cheaper."""
_PATIENCE_SECONDS: Final = 5.0
_MODE: Final = 0o600


class Lock:
    """An flock on a file beside the store's; the kernel takes it back from who is killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        _give_to_owner_of_folder(self._descriptor, path)

    def try_take(self) -> bool:
        """Take it, if nobody has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self) -> None:
        """Wait for it; not on an event loop."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def give(self) -> None:
        """Give it back."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give it back for good."""
        os.close(self._descriptor)


def open_file(folder: Path) -> sqlite3.Connection:
    """Open the store of a state folder; make it, or bring its schema up to date, where needed.

    A file that is no database any more is put aside, so that mail can go on: what it held is lost,
    and the log says so.

    Raises:
        ConfigurationError: a newer Gatepost has written it, or it may not be opened.
    """
    path = folder / FILE_NAME
    try:
        with contextlib.closing(Lock(folder / "store.opening")) as lock:
            lock.take()  # one at a time: two may find the same file damaged
            return _open_or_begin_anew(path)
    except (OSError, sqlite3.OperationalError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"cannot be opened: {reason}",
            remedy="check the folder, its mode and the disk",
            path=path,
        ) from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else is at it right now, rather than something being wrong."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


def log_bytes(folder: Path) -> int:
    """How long the log is."""
    try:
        return (folder / f"{FILE_NAME}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def checkpoint(folder: Path) -> None:
    """Bring what the log holds into the file and onto the disk; begin the log anew. In a thread.

    Raises:
        Unavailable: it did not come about; the log goes on growing until it does.
    """
    path = folder / FILE_NAME
    with contextlib.ExitStack() as stack:
        lock = Lock(folder / "store.lock")
        stack.callback(lock.close)
        reader, writer = _connect(path, _PATIENCE_SECONDS), _connect(path, _PATIENCE_SECONDS)
        stack.callback(reader.close)
        stack.callback(writer.close)
        try:
            # A reader that stays behind keeps the first pass, which takes long, from being complete:
            # so no worker can find the log used up and begin it anew, which waits for the disk.
            reader.execute("BEGIN")
            reader.execute("SELECT number FROM checkpoint").fetchone()
            _mark(writer, lock)
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            reader.execute("COMMIT")
            with _taken(lock):
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                writer.execute("UPDATE checkpoint SET number = number + 1")
        except sqlite3.Error as error:
            raise Unavailable(f"{path}: no checkpoint: {error}") from error


def _mark(writer: sqlite3.Connection, lock: Lock) -> None:
    with _taken(lock):
        writer.execute("UPDATE checkpoint SET number = number + 1")


@contextlib.contextmanager
def _taken(lock: Lock) -> Iterator[None]:
    lock.take()
    try:
        yield
    finally:
        lock.give()


def _open_or_begin_anew(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        _put_aside(path, error)
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    _give_to_owner_of_folder(descriptor, path)
    os.close(descriptor)
    connection = _connect(path, _PATIENCE_SECONDS)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection, path)
        connection.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(_SCHEMAS):
        raise ConfigurationError(
            f"was written by a newer Gatepost (schema {found}, known is {len(_SCHEMAS)})",
            remedy="run that version, or move the file away: counters, bans and reputation go with it",
            path=path,
        )
    for number, schema in enumerate(_SCHEMAS[found:], found + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {number}; COMMIT;"
        )


def _put_aside(path: Path, error: sqlite3.Error) -> None:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    log.error(
        "store is damaged; beginning a new one", path=str(path), kept=str(kept), error=str(error)
    )
    path.replace(kept)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _give_to_owner_of_folder(descriptor: int, path: Path) -> None:
    """What root makes by a command must be open to the workers, which run as somebody else."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
