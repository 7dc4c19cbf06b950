"""Answers of the DNS in memory, each until its time, all of them within a size; the least used go first.

Knows no clock and nobody to ask.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from relay.model import DnsAnswer

__all__ = ["AnswerCache", "Failure", "Key"]

_ENTRY_BYTES: Final = 400  # of the dictionary and the tuples around an answer, measured

Key = tuple[str, str]
"""A name in lower case and a type of record."""


class Failure(NamedTuple):
    """A question that nobody has answered, and why not."""

    reason: str


class _Entry(NamedTuple):
    outcome: DnsAnswer | Failure
    until: float
    size_bytes: int


class AnswerCache:
    """Keeps at most `max_bytes`."""

    __slots__ = ("_entries", "_max_bytes", "size_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> DnsAnswer | Failure | None:
        """Return what is kept, None if nothing is or its time has passed."""
        entry = self._entries.get(key)
        if entry is None or entry.until <= now:
            return None
        self._entries.move_to_end(key)
        return entry.outcome

    def put(self, key: Key, outcome: DnsAnswer | Failure, until: float) -> None:
        """Keep an outcome in the place of an earlier one."""
        earlier = self._entries.pop(key, None)
        if earlier is not None:
            self.size_bytes -= earlier.size_bytes
        entry = _Entry(outcome, until, _size(key, outcome))
        self._entries[key] = entry
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.size_bytes -= dropped.size_bytes


def _size(key: Key, outcome: DnsAnswer | Failure) -> int:
    texts = (outcome.reason,) if isinstance(outcome, Failure) else outcome.records
    return _ENTRY_BYTES + sys.getsizeof(key[0]) + sum(map(sys.getsizeof, texts))
