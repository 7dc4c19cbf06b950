"""The store of one host: a SQLite file that all its workers share. Implements `ports.Store`.

Each call does its work at once, on the event loop, in some ten microseconds; a thread would cost more
to wake than that. Knows the SQL; `sqlite_turns.py` knows when it is done, `sqlite_file.py` has the
theory of it all.
"""

from __future__ import annotations

import asyncio
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from relay.model import Restriction, RestrictionKind
from relay.policy.decay import NOTHING, Sum
from relay.policy.gcra import settle
from relay.state.polling import another_version
from relay.state.sqlite_file import open_file
from relay.state.sqlite_turns import Turns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from relay.model import Charge, Score

__all__ = ["FADING_TABLES", "SqliteStore"]

_LOOK_SECONDS: Final = 0.2
"""How often `changed` looks."""
_LISTED_AT_ONCE: Final = 500
_FORGOTTEN_AT_ONCE: Final = 200
_COLUMNS: Final = 'kind, subject, reason, "by", since, until, times'

FADING_TABLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"rate": ("key", "arrival"), "score": ("subject", "until"), "value": ("key", "until")}
)
"""Tables whose rows end by themselves: the column of the key, and that of the end."""


class SqliteStore:
    """Implements `ports.Store`. Made by `open`, in the process that uses it: it does not survive a fork.

    Args:
        connection: to the file.
        folder: where it is.
        timeout: how long a call may wait for other processes.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path, timeout: timedelta) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._turns = Turns(connection, folder, timeout)
        self._read, self._write = self._turns.read, self._turns.write
        self._known: dict[tuple[Any, ...], Restriction] = {}

    @classmethod
    def open(cls, folder: Path, timeout: timedelta) -> SqliteStore:
        """Open the store of a state folder.

        Raises:
            ConfigurationError: it can't be opened.
        """
        return cls(open_file(folder), folder, timeout)

    async def close(self) -> None:
        """Close the file."""
        await self._turns.close()

    # --- rates and reputation ---------------------------------------------------------------

    async def spend(self, charges: Sequence[Charge], now: float) -> Sequence[float]:
        """Charge rate limits; see `ports.Store`."""
        takes = any(charge.cost for charge in charges)
        return await (self._write if takes else self._read)(lambda: self._spend(charges, now))

    def _spend(self, charges: Sequence[Charge], now: float) -> list[float]:
        arrivals: dict[str, float] = {}
        waits = []
        for charge in charges:
            arrival = arrivals.get(charge.key)
            if arrival is None:
                row = self._execute("SELECT arrival FROM rate WHERE key = ?", charge[:1]).fetchone()
                arrival = row[0] if row else 0.0
            moment, wait = settle(arrival, charge, now)
            if charge.cost:
                arrivals[charge.key] = moment
            waits.append(wait)
        if arrivals and not any(waits):
            self._connection.executemany("REPLACE INTO rate VALUES (?, ?)", arrivals.items())
        return waits

    async def add_scores(self, scores: Sequence[Score], now: float) -> None:
        """Add to decaying sums."""
        await self._write(lambda: self._add_scores(scores, now))

    def _add_scores(self, scores: Sequence[Score], now: float) -> None:
        for score in scores:
            added = self._sum_of(score.subject).plus(score, now)
            self._execute(
                "REPLACE INTO score VALUES (?, ?, ?, ?, ?)",
                (score.subject, *added, added.negligible_at()),
            )

    async def scores(self, subjects: Sequence[str], now: float) -> Sequence[float]:
        """Return decayed sums."""
        return await self._read(lambda: self._scores(subjects, now))

    def _scores(self, subjects: Sequence[str], now: float) -> list[float]:
        # One statement, for each has to look first whether somebody has written meanwhile.
        marks = ",".join("?" * len(subjects))
        found = self._execute(
            f"SELECT subject, value, at, half_life FROM score WHERE subject IN ({marks})",  # noqa: S608
            subjects,
        )
        sums = {row[0]: Sum(*row[1:]) for row in found.fetchall()}
        return [sums.get(subject, NOTHING).value_at(now) for subject in subjects]

    def _sum_of(self, subject: str) -> Sum:
        row = self._execute(
            "SELECT value, at, half_life FROM score WHERE subject = ?", (subject,)
        ).fetchone()
        return Sum._make(row) if row else NOTHING

    # --- restrictions -----------------------------------------------------------------------

    async def restrict(self, *restrictions: Restriction) -> None:
        """Put restrictions in force."""
        await self._write(lambda: self._put(restrictions))

    def _put(self, restrictions: Sequence[Restriction]) -> None:
        rows = (
            (
                each.kind.value,
                each.subject,
                each.reason,
                each.by,
                each.since,
                each.until,
                each.times,
                each.remembered_until,
            )
            for each in restrictions
        )
        self._connection.executemany(
            "REPLACE INTO restriction VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
        )
        self._execute("UPDATE version SET number = number + 1")

    async def lift(self, kind: RestrictionKind, subject: str) -> bool:
        """Take a restriction back."""
        now = time.time()

        def work() -> bool:
            row = self._execute(
                f"SELECT {_COLUMNS} FROM restriction WHERE kind = ? AND subject = ?",  # noqa: S608
                (kind.value, subject),
            ).fetchone()
            held = _restriction(row) if row else None
            if held is None or not held.is_in_force(now):
                return False
            self._put([held.lifted(now)])
            return True

        return await self._write(work)

    async def restrictions(self) -> Sequence[Restriction]:
        """Return all that are in force or remembered."""
        known, self._known = self._known, {}
        now = time.time()
        last: tuple[Any, ...] = ("", "")
        while rows := await self._page_of_restrictions(last, now):
            for row in rows:
                # What has not changed need not be made again: there may be very many.
                self._known[row] = known.get(row) or _restriction(row)
            last = rows[-1][:2]
            await asyncio.sleep(0)
        return tuple(self._known.values())

    async def _page_of_restrictions(self, last: tuple[Any, ...], now: float) -> list[Any]:
        return await self._read(
            lambda: self._execute(
                f"SELECT {_COLUMNS} FROM restriction "  # noqa: S608  our own names
                "WHERE (kind, subject) > (?, ?) AND (forget_at IS NULL OR forget_at > ?) "
                "ORDER BY kind, subject LIMIT ?",
                (*last, now, _LISTED_AT_ONCE),
            ).fetchall()
        )

    async def version(self) -> int:
        """Return the version of the restrictions."""
        row = await self._read(lambda: self._execute("SELECT number FROM version").fetchone())
        return cast("int", row[0])

    async def changed(self, known: int, timeout: timedelta) -> int:
        """Wait for another version than `known`."""
        return await another_version(
            known,
            timeout,
            look=self.version,
            wait=lambda left: asyncio.sleep(min(left, _LOOK_SECONDS)),
        )

    # --- values -----------------------------------------------------------------------------

    async def get(self, key: str, now: float) -> bytes | None:
        """Return what was put under a key."""
        row = await self._read(
            lambda: self._execute(
                "SELECT value FROM value WHERE key = ? AND until > ?", (key, now)
            ).fetchone()
        )
        return row[0] if row else None

    async def put(self, key: str, value: bytes, until: float) -> None:
        """Keep a value until a moment."""
        await self._write(
            lambda: self._execute("REPLACE INTO value VALUES (?, ?, ?)", (key, value, until))
        )

    async def forget(self, table: str, after: str, now: float) -> tuple[str, int]:
        """Forget what is over among the next rows of a table.

        Args:
            table: one of FADING_TABLES.
            after: the key behind which to begin; "" for the first.
            now: what has ended by then is over.

        Returns:
            The key to go on behind, "" at the end of the table, and how many were forgotten.
        """
        key, until = FADING_TABLES[table]
        rows = await self._read(
            lambda: self._execute(
                f"SELECT {key}, {until} FROM {table} WHERE {key} > ? "  # noqa: S608  our own names
                f"ORDER BY {key} LIMIT {_FORGOTTEN_AT_ONCE}",
                (after,),
            ).fetchall()
        )
        over = [(row[0], now) for row in rows if row[1] <= now]
        if over:
            # One may have been used again since it was read.
            statement = f"DELETE FROM {table} WHERE {key} = ? AND {until} <= ?"  # noqa: S608
            await self._write(lambda: self._connection.executemany(statement, over))
        return (rows[-1][0] if len(rows) == _FORGOTTEN_AT_ONCE else ""), len(over)

    async def forget_restrictions(self, now: float) -> None:
        """Forget the restrictions that nobody need remember any more."""
        await self._write(
            lambda: self._execute("DELETE FROM restriction WHERE forget_at <= ?", (now,))
        )


def _restriction(row: tuple[Any, ...]) -> Restriction:
    return Restriction(RestrictionKind(row[0]), *row[1:])
