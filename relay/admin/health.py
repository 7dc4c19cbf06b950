"""Probes: is this relay alive (`/healthz`), does it take mail (`/readyz`), and its figures (`/metrics`).

Says what the supervisor has told; finds nothing out by itself.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiohttp import web

from relay.admin.metrics import CONTENT_TYPE, render
from relay.admin.server import answer_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.admin.server import Asked, Routes
    from relay.inventory import Posture
    from relay.net.tally import Tally

    Measure = Callable[[datetime], Posture]

__all__ = ["Health", "State"]

log = structlog.get_logger("gatepost")

_LOOK_AFTER: Final = timedelta(minutes=1)
"""Certificates and identities are looked at no more often: they end in days."""


class State(NamedTuple):
    """How the workers are, as their supervisor knows."""

    ready_workers: int = 0
    wanted_workers: int = 0
    generation: int = 0
    is_stopping: bool = False

    @property
    def problem(self) -> str:
        """Why no mail is taken; "" if it is."""
        if self.is_stopping:
            return "stopping"
        return "" if self.ready_workers else "no worker is ready"


class Health:
    """The probes of one host.

    Args:
        tally: what the workers count.
        measure: says how certificates, identities and lists are; called in a thread.
    """

    def __init__(self, tally: Tally, measure: Measure | None = None) -> None:
        self._tally = tally
        self._state = State()
        self._measure = measure
        self._posture: Posture | None = None
        self._look_again = datetime.min.replace(tzinfo=UTC)

    def update(self, told: dict[str, Any]) -> None:
        """Take over what the supervisor tells: the fields of `State`."""
        self._state = State(**{name: told[name] for name in State._fields})

    @property
    def routes(self) -> Routes:
        """The paths that probes know."""
        return {
            "/healthz": {"GET": self._alive},
            "/readyz": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
        }

    async def _alive(self, _: Asked) -> web.Response:
        # This process ends with its supervisor, so whoever gets an answer talks to a living relay.
        return answer_text(200, "alive")

    async def _ready(self, _: Asked) -> web.Response:
        problem = self._state.problem
        return answer_text(503, problem) if problem else answer_text(200, "ready")

    async def _metrics(self, _: Asked) -> web.Response:
        await self._look()
        body = render(self._tally, self._state, self._posture)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _look(self) -> None:
        """Look at certificates and identities, if it is time to; the last look stands if that fails."""
        now = datetime.now(UTC)
        if self._measure is None or now < self._look_again:
            return
        self._look_again = now + _LOOK_AFTER
        try:
            self._posture = await asyncio.to_thread(self._measure, now)
        except Exception:  # whatever it is, the other figures are there all the same
            log.exception("certificates and identities not looked at")
