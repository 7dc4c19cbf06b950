"""How long to wait before a list is fetched or a responder asked again, in seconds.

`chance`, a number from 0 to 1, is drawn by the caller: many relays shall not all come at the same time.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from relay.settings.revocation import Revocation

__all__ = ["next_look", "next_try"]


def next_look(now: datetime, until: datetime, settings: Revocation, chance: float) -> float:
    """Say when to look for something newer than what counts until a moment.

    When half of what is left of its time is gone, at the longest after `refresh`, and never in less
    than `retry`; up to a fifth sooner by chance.
    """
    left = (until.astimezone(UTC) - now) / 2
    wait = max(min(left, settings.refresh), min(settings.retry, settings.refresh), timedelta(0))
    return wait.total_seconds() * (0.8 + 0.2 * chance)


def next_try(failures: int, settings: Revocation, chance: float) -> float:
    """Say when to try again after one more failure than these: ever later, up to `refresh`."""
    wait = settings.retry.total_seconds() * float(2 ** min(failures, 32))
    return min(wait, settings.refresh.total_seconds()) * (0.8 + 0.2 * chance)
