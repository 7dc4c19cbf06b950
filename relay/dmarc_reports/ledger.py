"""What was counted, day by day, until it is reported: a SQLite file in `state_dir`.

One process writes it. Days are UTC; a day is reported once it is over.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from relay.mailauth.dmarc_report import Observation, Published

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Ledger"]

MAX_ROWS_OF_A_DOMAIN: Final = 10_000
MAX_DOMAINS_OF_A_DAY: Final = 20_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS published (
  day INTEGER, domain TEXT, policy TEXT, PRIMARY KEY (day, domain)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS observed (
  day INTEGER, domain TEXT, observation TEXT, count INTEGER,
  PRIMARY KEY (day, domain, observation)) WITHOUT ROWID;
"""


class Ledger:
    """The counts of the days that are not reported yet."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def add(self, day: int, counted: Iterable[list[Any]]) -> None:
        """Add what a worker has counted on a day, as `Counting.take` has it."""
        with self._database:
            self._database.execute("BEGIN")
            for published, observation, count in counted:
                self._add(day, published[0], json.dumps(published), json.dumps(observation), count)

    def _add(self, day: int, domain: str, policy: str, observation: str, count: int) -> None:
        execute = self._database.execute
        known = execute("SELECT 1 FROM published WHERE day = ? AND domain = ?", (day, domain))
        if known.fetchone() is None:
            (domains,) = execute("SELECT count(*) FROM published WHERE day = ?", (day,)).fetchone()
            if domains >= MAX_DOMAINS_OF_A_DAY:
                return
        # RFC 9990 3: the policy seen last is told
        execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?)", (day, domain, policy))
        added = execute(
            "UPDATE observed SET count = count + ? WHERE day = ? AND domain = ? AND observation = ?",
            (count, day, domain, observation),
        )
        if added.rowcount:
            return
        (rows,) = execute(
            "SELECT count(*) FROM observed WHERE day = ? AND domain = ?", (day, domain)
        ).fetchone()
        if rows < MAX_ROWS_OF_A_DOMAIN:
            execute("INSERT INTO observed VALUES (?, ?, ?, ?)", (day, domain, observation, count))

    def due(self, before: int) -> list[tuple[int, str]]:
        """Return the days before one, and the domains that are to be told of them."""
        found = self._database.execute(
            "SELECT day, domain FROM published WHERE day < ? ORDER BY day, domain", (before,)
        )
        return found.fetchall()

    def read(self, day: int, domain: str) -> tuple[Published, dict[Observation, int]]:
        """Return what a domain is to be told of a day."""
        execute = self._database.execute
        (policy,) = execute(
            "SELECT policy FROM published WHERE day = ? AND domain = ?", (day, domain)
        ).fetchone()
        rows = execute(
            "SELECT observation, count FROM observed WHERE day = ? AND domain = ?", (day, domain)
        )
        return _published(json.loads(policy)), {
            _observation(json.loads(text)): count for text, count in rows
        }

    def forget(self, day: int, domain: str) -> None:
        """Drop what has been told, or can't be."""
        with self._database:
            self._database.execute("BEGIN")
            for table in ("published", "observed"):
                self._database.execute(
                    f"DELETE FROM {table} WHERE day = ? AND domain = ?",  # noqa: S608  ours
                    (day, domain),
                )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _published(values: list[Any]) -> Published:
    *plain, report_to = values
    return Published._make([*plain, tuple(tuple(each) for each in report_to)])


def _observation(values: list[Any]) -> Observation:
    *plain, signatures = values
    return Observation._make([*plain, tuple(tuple(each) for each in signatures)])
