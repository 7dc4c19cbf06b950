"""What goes on beside sessions and requests: kept going whatever happens, as nobody waits for it.

Knows nothing of connections.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from relay.dmarc_reports.counting import Counting
    from relay.net.tally import Row
    from relay.outbound.forwarder import Forwarder

__all__ = ["hand_over", "keep_at", "report_next_hops"]

log = structlog.get_logger("gatepost")

_COUNT_SECONDS: Final = 2.0
"""How often what was counted for reports is handed over."""
_REPORT_SECONDS: Final = 1.0


async def keep_at(work: Callable[[], Awaitable[None]], pause_seconds: float = 1.0) -> None:
    """Do work that must not end silently: what fails unexpectedly begins again after a pause."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("background work failed, and begins again", again_in=pause_seconds)
        await asyncio.sleep(pause_seconds)


async def report_next_hops(forwarder: Forwarder, row: Row) -> None:
    """Log and count when a next hop fails, and when it is back: the inside logs nothing."""
    problems: dict[tuple[str, str], str] = {}
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        for status in forwarder.status():
            key = (status.route, str(status.host))
            before = problems.get(key, "")
            problems[key] = status.problem
            row.tell("next_hops_failing", *key, value=bool(status.problem))
            if status.problem and not before:
                log.warning("next hop fails", route=key[0], next_hop=key[1], problem=status.problem)
            elif before and not status.problem:
                log.info("next hop is back", route=key[0], next_hop=key[1])


async def hand_over(counting: Counting, tell: Callable[[Any], None]) -> None:
    """Have what was counted for reports kept, every now and then and at the end."""
    try:
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            _hand_over_now(counting, tell)
    finally:
        _hand_over_now(counting, tell)


def _hand_over_now(counting: Counting, tell: Callable[[Any], None]) -> None:
    if counted := counting.take():
        tell(counted)
