"""What all workers of this host have open, in shared memory: connections, memory, totals.

Theory: one row per worker, and only that worker writes it, so there is no lock and no atomic
operation; whoever wants a total adds up all rows and may be a moment late. The supervisor makes
the table before it forks, and wipes the row of a worker that has died; what it had counted goes on in
a row of the dead, so that totals never fall. Connections per address are kept in a count-min sketch
(two hash functions): two addresses may at worst be counted as one with a chance of about
(open / 65,536)^2, and never too low.

What is counted by label is in a table of its own (`label_table.py`) behind each row's counters.

Decides nothing about sessions; it only counts.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

from relay.net.label_table import LABELLED, TABLE_BYTES, LabelTable

__all__ = ["COUNTERS", "GAUGES", "SECONDS", "Row", "Tally", "Times"]

COUNTERS: Final = MappingProxyType(
    {
        "sessions": "Client connections open now.",
        "connections": "Client connections accepted.",
        "handshakes_failed": "Connections on which no TLS came about.",
        "refused": "Sessions and transactions refused for who the client is, or by policy.",
        "delivered": "Messages that a next hop has taken.",
        "deferred": "Messages answered with 4xx.",
        "rejected": "Messages answered with 5xx.",
        "memory": "Bytes of message bodies in flight.",
    }
)
"""What is counted, and what each means."""
GAUGES: Final = ("sessions", "memory")
"""Those that tell how it is now: they go with the worker."""
_INDEX: Final = {name: index for index, name in enumerate(COUNTERS)}
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""How long a next hop takes for a message is counted up to each of these, and above the last."""
_CELLS: Final = 65_536
_HEAD_BYTES: Final = 8 * len(COUNTERS)
_TIMES_BYTES: Final = 8 * (len(SECONDS) + 2)
_LABELS_START: Final = _HEAD_BYTES + _TIMES_BYTES
_CELLS_START: Final = _LABELS_START + TABLE_BYTES
_ROW_BYTES: Final = _CELLS_START + 2 * 2 * _CELLS


class Times(NamedTuple):
    """How long next hops took: one count for each of `SECONDS`, one for what took longer; the sum."""

    counts: tuple[int, ...]
    sum_seconds: float


class Tally:
    """The table; made once, before the workers are forked.

    Args:
        slots: rows, one per worker that may live at the same time (old generations included).
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        rows = slots + 1  # the last is of the dead
        self._memory = mmap.mmap(-1, rows * _ROW_BYTES)
        view = memoryview(self._memory)
        self._counters = []
        self._times = []
        self._labels = []
        self._cells = []
        for start in range(0, rows * _ROW_BYTES, _ROW_BYTES):
            labels, cells = start + _LABELS_START, start + _CELLS_START
            self._counters.append(view[start : start + _HEAD_BYTES].cast("q"))
            self._times.append(view[start + _HEAD_BYTES : labels].cast("q"))
            self._labels.append(LabelTable(view[labels:cells]))
            self._cells.append(view[cells : start + _ROW_BYTES].cast("H"))

    def total(self, counter: str) -> int:
        """Add up one counter over all rows."""
        index = _INDEX[counter]
        return sum([row[index] for row in self._counters])

    def labelled(self, counter: str) -> dict[tuple[str, ...], int]:
        """Add up one counter of `LABELLED` over all rows, by its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for table in self._labels:
            for labels, value in table.samples(counter):
                found[labels] += value
        return dict(found)

    def times(self) -> Times:
        """How long next hops took for messages."""
        *counts, microseconds = (sum(column) for column in zip(*self._times, strict=True))
        return Times(tuple(counts), microseconds / 1e6)

    def connections_from(self, cells: tuple[int, int]) -> int:
        """Count the open connections of one address (`Row.cells_of`); never too low."""
        return min(sum([row[cell] for row in self._cells]) for cell in cells)

    def snapshot(self, slot: int) -> dict[str, int]:
        """Return the counters of one row by name."""
        return dict(zip(COUNTERS, self._counters[slot], strict=True))

    def wipe(self, slot: int) -> None:
        """Forget a dead worker's row, all but its totals."""
        for name, index in _INDEX.items():
            if name not in GAUGES:
                self._counters[-1][index] += self._counters[slot][index]
        for index, value in enumerate(self._times[slot]):
            self._times[-1][index] += value
        for counter in (name for name, each in LABELLED.items() if not each.is_gauge):
            for labels, value in self._labels[slot].samples(counter):
                dead = self._labels[-1]
                dead.counts[dead.place((counter, *labels))] += value
        start = slot * _ROW_BYTES
        self._memory[start : start + _ROW_BYTES] = bytes(_ROW_BYTES)
        self._labels[slot].forget()

    def row(self, slot: int) -> Row:
        """Return the row that one worker writes."""
        return Row(
            self,
            self._counters[slot],
            self._cells[slot],
            self._labels[slot],
            self._times[slot],
        )


class Row:
    """One worker's row: it writes here, and asks the whole table.

    Implements `ports.Budget` and `ports.Statistics`.
    """

    __slots__ = ("_cells", "_counters", "_labels", "_tally", "_times", "memory_budget")

    def __init__(
        self,
        tally: Tally,
        counters: memoryview[int],
        cells: memoryview[int],
        labels: LabelTable,
        times: memoryview[int],
    ) -> None:
        self._tally = tally
        self._counters = counters
        self._cells = cells
        self._labels = labels
        self._times = times
        self.memory_budget = 0

    @staticmethod
    @lru_cache(maxsize=4096)  # asked when a connection opens, and when it ends
    def cells_of(address: str) -> tuple[int, int]:
        """Where connections of an address are counted."""
        digest = blake2b(address.encode(), digest_size=4).digest()
        return (
            int.from_bytes(digest[:2], "big"),
            _CELLS + int.from_bytes(digest[2:], "big"),
        )

    def count(self, counter: str, by: int = 1) -> None:
        """Add to one of our counters."""
        self._counters[_INDEX[counter]] += by

    def count_by(self, *key: str) -> None:
        """Add one to a counter of `LABELLED`: its name, then its labels."""
        table = self._labels
        table.counts[table.place(key)] += 1

    def tell(self, *key: str, value: int) -> None:
        """Say how it is now: for those of `LABELLED` that are no totals."""
        self._labels.counts[self._labels.place(key)] = value

    def delivery_took(self, seconds: float) -> None:
        """Count how long a next hop took for a message."""
        self._times[bisect_left(SECONDS, seconds)] += 1
        self._times[-1] += int(seconds * 1e6)

    def open_connections(self) -> int:
        """Connections open on this host."""
        return self._tally.total("sessions")

    def connections_from(self, address: str) -> int:
        """Connections of one address open on this host."""
        return self._tally.connections_from(self.cells_of(address))

    def connection_opened(self, address: str) -> None:
        """Count a connection in."""
        self._counters[0] += 1
        self._counters[1] += 1
        for cell in self.cells_of(address):
            self._cells[cell] = min(self._cells[cell] + 1, 65_535)

    def connection_closed(self, address: str) -> None:
        """Count it out."""
        self._counters[0] -= 1
        for cell in self.cells_of(address):
            self._cells[cell] = max(self._cells[cell] - 1, 0)

    def take(self, size_bytes: int) -> bool:
        """Claim memory for a message; False if the host's budget is spent."""
        if self._tally.total("memory") + size_bytes > self.memory_budget:
            return False
        self._counters[_INDEX["memory"]] += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Return claimed memory."""
        self._counters[_INDEX["memory"]] -= size_bytes
