"""One mail transaction: from MAIL to the final reply.

Thrown away at its end, at RSET and at a new greeting; nothing survives in the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model import Envelope, Sender

if TYPE_CHECKING:
    from relay.outbound.routes import Route
    from relay.ports import Budget

__all__ = ["Transaction"]

_CLAIM_STEP_BYTES = 256 * 1024


class Transaction:
    """The envelope so far, its one next hop, and the memory its body has claimed."""

    __slots__ = ("_budget", "_claimed_bytes", "envelope", "reference", "route")

    def __init__(self, sender: Sender, reference: str, budget: Budget) -> None:
        self.envelope = Envelope(sender)
        self.reference = reference
        self.route: Route | None = None
        self._budget = budget
        self._claimed_bytes = 0

    def claim(self, size_bytes: int) -> bool:
        """Hold at least this much of the memory budget; False if it is spent."""
        missing = size_bytes - self._claimed_bytes
        if missing <= 0:
            return True
        missing = max(missing, _CLAIM_STEP_BYTES)
        if not self._budget.take(missing):
            return False
        self._claimed_bytes += missing
        return True

    def release(self) -> None:
        """Give all claimed memory back; may be called twice."""
        self._budget.give(self._claimed_bytes)
        self._claimed_bytes = 0
