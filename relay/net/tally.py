"""What all workers of this host have open, in shared memory: connections, memory, totals.

Theory: one row per worker, and only that worker writes it, so there is no lock and no atomic
operation; whoever wants a total adds up all rows and may be a moment late. The supervisor makes
the table before it forks, and wipes the row of a worker that has died; what it had counted goes on in
a row of the dead, so that totals never fall. Connections per address are kept in a count-min sketch
(two hash functions): two addresses may at worst be counted as one with a chance of about
(open / 65,536)^2, and never too low.

Decides nothing about sessions; it only counts.
"""

from __future__ import annotations

import mmap
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

__all__ = ["COUNTERS", "GAUGES", "Row", "Tally"]

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
_CELLS: Final = 65_536
_HEAD_BYTES: Final = 8 * len(COUNTERS)
_ROW_BYTES: Final = _HEAD_BYTES + 2 * 2 * _CELLS


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
        self._cells = []
        for start in range(0, rows * _ROW_BYTES, _ROW_BYTES):
            self._counters.append(view[start : start + _HEAD_BYTES].cast("q"))
            self._cells.append(view[start + _HEAD_BYTES : start + _ROW_BYTES].cast("H"))

    def total(self, counter: str) -> int:
        """Add up one counter over all rows."""
        index = _INDEX[counter]
        return sum([row[index] for row in self._counters])

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
        start = slot * _ROW_BYTES
        self._memory[start : start + _ROW_BYTES] = bytes(_ROW_BYTES)

    def row(self, slot: int) -> Row:
        """Return the row that one worker writes."""
        return Row(self, self._counters[slot], self._cells[slot])


class Row:
    """One worker's row: it writes here, and asks the whole table. Implements `ports.Budget`."""

    __slots__ = ("_cells", "_counters", "_tally", "memory_budget")

    def __init__(self, tally: Tally, counters: memoryview[int], cells: memoryview[int]) -> None:
        self._tally = tally
        self._counters = counters
        self._cells = cells
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
