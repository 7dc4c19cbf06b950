"""Keeps a view of the restrictions up to date, so that the mail path looks them up without waiting.

While the store is away the last known ones stay in force, and what it has lost meanwhile it gets back:
a server that was started empty, or a replica that takes over, must not let in whom others know. Knows
the store's port, and nothing of what follows from a restriction.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog

from relay.errors import Unavailable
from relay.policy.restrictions import Restrictions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from relay.model import Restriction, RestrictionKind
    from relay.ports import Clock, Store
    from relay.state.last_known import LastKnown

__all__ = ["Watcher"]

log = structlog.get_logger("gatepost")

_TICK: Final = timedelta(seconds=0.5)
"""How far the view's time may be behind: what has ended counts that much longer."""
_RETRY_SECONDS: Final = 0.2
_SLICE: Final = 200
_REST: Final = 4
"""How many times as long as reading took it is left alone, should there be very many changes."""


class Watcher:
    """Watches the restrictions of a store.

    Attributes:
        view: what is in force, for look-ups; the same object all the time.

    Args:
        store: where the restrictions are.
        clock: moves the view's time on.
        on_change: called when restrictions have come or gone, not when one ends by itself.
        last_known: where to keep what is known, if the store is elsewhere.
        view: what to keep up to date, if there is one already.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_change: Callable[[], None],
        last_known: LastKnown | None = None,
        *,
        view: Restrictions | None = None,
    ) -> None:
        self.view = Restrictions() if view is None else view
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._last_known = last_known
        self._version = -1
        self._unsent: dict[tuple[RestrictionKind, str], Restriction] = {}
        self._problem = ""

    async def start(self) -> None:
        """Read what is in force, before mail is taken; what was last known, if the store is away."""
        self._tick()
        try:
            await self._take_up(await self._store.version())
        except Unavailable as error:
            self._note(str(error))
            for restriction in self._last_known.read() if self._last_known else ():
                self.view.put(restriction)

    async def run(self) -> None:
        """Go on watching until cancelled."""
        while True:
            try:
                version = await self._store.changed(self._version, _TICK)
                while self._unsent:
                    await self._send(*islice(self._unsent.values(), _SLICE))
                if version != self._version:
                    begun = self._clock.monotonic()
                    await self._take_up(version)
                    await asyncio.sleep(_REST * (self._clock.monotonic() - begun))
                self._note("")
            except Unavailable as error:
                self._note(str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            self._tick()

    async def restrict(self, restriction: Restriction) -> None:
        """Put a restriction in force: here at once, everywhere as soon as the store has it.

        A store that is away gets it when it is back.
        """
        self._tick()
        self._unsent[restriction.kind, restriction.subject] = restriction
        if self.view.put(restriction):
            self._on_change()
        try:
            await self._send(restriction)
        except Unavailable as error:
            self._note(str(error))

    async def _send(self, *restrictions: Restriction) -> None:
        await self._store.restrict(*restrictions)
        for each in restrictions:
            key = (each.kind, each.subject)
            if self._unsent.get(key) is each:
                del self._unsent[key]

    async def _take_up(self, version: int) -> None:
        """Make the view what the store says; a slice at a time, for there may be very many."""
        found = {(each.kind, each.subject): each for each in await self._store.restrictions()}
        changed = [
            each
            for key, each in found.items()
            # Stores give the same object for what has not changed: to compare is a lot slower.
            if (last := self.view.last(*key)) is not each and last != each
        ]
        for position, restriction in enumerate(changed, 1):
            if not self.view.put(restriction):
                log.warning("ban of what is no network", subject=restriction.subject)
            if not position % _SLICE:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        lost, over = self._missing(found.keys())
        for each in lost:
            self._unsent[each.kind, each.subject] = each
        for each in over:
            self.view.drop(each.kind, each.subject)
        if lost:
            log.warning("restrictions that the state has lost are put back", number=len(lost))
        self._version = version
        self.view.is_known = True
        if changed:
            self._on_change()
            if self._last_known is not None:
                await asyncio.to_thread(self._last_known.write, tuple(self.view))

    def _missing(
        self, found: Collection[tuple[RestrictionKind, str]]
    ) -> tuple[list[Restriction], list[Restriction]]:
        """What the store does not have: what it must have lost, and what is over and forgotten."""
        missing = self.view.keys() - set(found) - self._unsent.keys()
        lost: list[Restriction] = []
        over: list[Restriction] = []
        for each in filter(None, (self.view.last(*key) for key in missing)):
            (lost if each.is_in_force(self.view.now) else over).append(each)
        return lost, over

    def _tick(self) -> None:
        self.view.now = self._clock.now().timestamp()

    def _note(self, problem: str) -> None:
        """Log when the store goes away, and when it is back."""
        if problem and not self._problem:
            log.warning("state is away; the last known restrictions stay", problem=problem)
        elif self._problem and not problem:
            log.info("state is back")
        self._problem = problem
