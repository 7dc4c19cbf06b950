"""What may reach the store later: added up, and brought there each second, so that no mail waits for it.

What can't be brought is kept for the next time, within bounds. Implements `ports.Outbox`; knows the
store's port, and not what is noted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable
from relay.model import Score

if TYPE_CHECKING:
    from relay.model import Charge
    from relay.ports import Clock, Store

__all__ = ["Outbox"]

_EVERY_SECONDS: Final = 1.0
_AT_ONCE: Final = 50
_MAX_WAITING: Final = 20_000


class Outbox:
    """Implements `ports.Outbox`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._scores: dict[tuple[str, float], float] = {}
        self._charges: dict[Charge, int] = {}
        self._values: dict[str, tuple[bytes, float]] = {}

    def add_score(self, score: Score) -> None:
        """Have something added to a decaying sum."""
        key = (score.subject, score.half_life)
        if len(self._scores) < _MAX_WAITING or key in self._scores:
            self._scores[key] = self._scores.get(key, 0.0) + score.weight

    def charge(self, charge: Charge) -> None:
        """Have a limit charged, as far as there is room in it."""
        if len(self._charges) < _MAX_WAITING or charge in self._charges:
            self._charges[charge] = self._charges.get(charge, 0) + charge.cost

    def put(self, key: str, value: bytes, until: float) -> None:
        """Have a value kept."""
        if len(self._values) < _MAX_WAITING:
            self._values[key] = (value, until)

    async def run(self) -> None:
        """Bring it there each second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Bring it there now; what a store that is away can't take waits for the next time."""
        try:
            while self._scores:
                await self._send_scores()
            while self._charges:
                await self._send_charge()
            while self._values:
                await self._send_value()
        except Unavailable:
            return

    async def _send_scores(self) -> None:
        """Send some of the sums; what is added meanwhile is sent next."""
        sent = dict(list(self._scores.items())[:_AT_ONCE])
        for key in sent:
            del self._scores[key]
        scores = [Score(subject, weight, life) for (subject, life), weight in sent.items()]
        try:
            await self._store.add_scores(scores, self._clock.now().timestamp())
        except Unavailable:
            for score in scores:
                self.add_score(score)
            raise

    async def _send_charge(self) -> None:
        """Charge one limit, or as much of it as there is room for: what is full stays full."""
        charge = next(iter(self._charges))
        owed = self._charges.pop(charge)  # what the store fails at otherwise must not come up again
        cost = min(owed, charge.limit)
        now = self._clock.now().timestamp()
        try:
            while cost and any(await self._store.spend([charge._replace(cost=cost)], now)):
                cost //= 2
        except Unavailable:
            self._charges[charge] = self._charges.get(charge, 0) + owed
            raise

    async def _send_value(self) -> None:
        key, (value, until) = self._values.popitem()
        try:
            await self._store.put(key, value, until)
        except Unavailable:
            self._values.setdefault(key, (value, until))  # a newer one stands
            raise
