"""Probes: is this relay alive (`/healthz`), does it take mail (`/readyz`), and its figures (`/metrics`).

Says what the supervisor has told; finds nothing out by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from relay.admin.metrics import CONTENT_TYPE, render
from relay.admin.server import answer_text

if TYPE_CHECKING:
    from relay.admin.server import Asked, Routes
    from relay.net.tally import Tally

__all__ = ["Health", "State"]


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
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._state = State()

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
        return web.Response(
            body=render(self._tally, self._state), headers={"Content-Type": CONTENT_TYPE}
        )
