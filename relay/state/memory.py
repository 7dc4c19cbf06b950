"""A store in the memory of one process: for tests, for the demo and for a relay with one worker.

Nothing outlives the process and no other process sees it. Implements `ports.Store`; never raises
Unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from relay.policy.decay import NOTHING, Sum
from relay.policy.gcra import settle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from relay.model import Charge, Restriction, RestrictionKind, Score

__all__ = ["MemoryStore"]

_T = TypeVar("_T")


class MemoryStore:
    """Implements `ports.Store`."""

    def __init__(self) -> None:
        self._arrivals: _Fading[float] = _Fading()
        self._sums: _Fading[Sum] = _Fading()
        self._values: _Fading[bytes] = _Fading()
        self._restrictions: dict[tuple[RestrictionKind, str], Restriction] = {}
        self._version = 0
        self._latest = 0.0
        self._change = asyncio.Event()

    async def spend(self, charges: Sequence[Charge], now: float) -> Sequence[float]:
        """Charge rate limits; see `ports.Store`."""
        self._latest = max(self._latest, now)
        arrivals: dict[str, float] = {}
        waits = []
        for charge in charges:
            arrival = arrivals.get(charge.key) or self._arrivals.get(charge.key) or 0.0
            moment, wait = settle(arrival, charge, now)
            if charge.cost:
                arrivals[charge.key] = moment
            waits.append(wait)
        if not any(waits):
            for key, arrival in arrivals.items():
                self._arrivals.put(key, arrival, arrival, now)
        return waits

    async def add_scores(self, scores: Sequence[Score], now: float) -> None:
        """Add to decaying sums."""
        self._latest = max(self._latest, now)
        for score in scores:
            added = (self._sums.get(score.subject) or NOTHING).plus(score, now)
            self._sums.put(score.subject, added, added.negligible_at(), now)

    async def scores(self, subjects: Sequence[str], now: float) -> Sequence[float]:
        """Return decayed sums."""
        return [(self._sums.get(subject) or NOTHING).value_at(now) for subject in subjects]

    async def restrict(self, *restrictions: Restriction) -> None:
        """Put restrictions in force."""
        for each in restrictions:
            self._latest = max(self._latest, each.since)
            self._restrictions[each.kind, each.subject] = each
        self._announce()

    async def lift(self, kind: RestrictionKind, subject: str) -> bool:
        """Take a restriction back."""
        held = self._restrictions.get((kind, subject))
        if held is None or not held.is_in_force(self._latest):
            return False
        self._restrictions[kind, subject] = held.lifted(self._latest)
        self._announce()
        return True

    async def restrictions(self) -> Sequence[Restriction]:
        """Return all that are in force or remembered."""
        over = [
            key
            for key, each in self._restrictions.items()
            if each.remembered_until is not None and each.remembered_until <= self._latest
        ]
        for key in over:
            del self._restrictions[key]
        return tuple(self._restrictions.values())

    async def version(self) -> int:
        """Return the version of the restrictions."""
        return self._version

    async def changed(self, known: int, timeout: timedelta) -> int:
        """Wait for another version than `known`."""
        if self._version == known:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), timeout.total_seconds())
        return self._version

    async def get(self, key: str, now: float) -> bytes | None:
        """Return what was put under a key."""
        return self._values.get(key, now)

    async def put(self, key: str, value: bytes, until: float) -> None:
        """Keep a value until a moment."""
        self._values.put(key, value, until, self._latest)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _announce(self) -> None:
        self._version += 1
        self._change.set()
        self._change = asyncio.Event()


class _Fading(Generic[_T]):
    """A dictionary whose entries have an end; each addition looks at two old ones, so it stays small."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[_T, float]] = OrderedDict()

    def get(self, key: str, now: float = 0.0) -> _T | None:
        """Return the value, unless it has ended by `now`."""
        found = self._entries.get(key)
        return found[0] if found is not None and now < found[1] else None

    def put(self, key: str, value: _T, until: float, now: float) -> None:
        for _ in range(min(2, len(self._entries))):
            old, entry = self._entries.popitem(last=False)
            if now < entry[1]:
                self._entries[old] = entry
        self._entries[key] = (value, until)

    def __len__(self) -> int:
        return len(self._entries)
