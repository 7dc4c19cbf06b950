"""What a worker counts for reports, until it is handed over (`ports.Feedback`).

Nothing is found out for a report's sake: only messages count of which rules have asked DMARC.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from relay.checks import dmarc
from relay.mailauth.dmarc import dns_name
from relay.mailauth.dmarc_report import observe

if TYPE_CHECKING:
    from relay.mailauth.dmarc_report import Observation, Published
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Facts

__all__ = ["Counting"]

MAX_ROWS: Final = 5_000
"""Between two handings-over; what is more is not counted."""


class Counting:
    """Implements `ports.Feedback`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._counts: Counter[tuple[Published, Observation]] = Counter()

    def note(self, case: Case, facts: Facts, *, refused: bool) -> None:
        """Count a message that was judged."""
        found = dmarc.found_so_far(case, self._tools)
        if found is None or found.spf is None or case.peer.ip is None:
            return
        sender = case.sender.address if case.sender else None
        seen = observe(
            found.verdict,
            str(case.peer.ip),
            (dns_name(found.spf.domain), found.spf.evaluation.result.value),
            [
                (dns_name(each.domain), dns_name(each.selector), each.result.value)
                for each in found.signatures
            ],
            envelope_from=dns_name(sender.domain) if sender else "",
            refused=refused,
            is_trusted=facts.get("arc.dmarc") == "pass",
        )
        if seen is not None and (len(self._counts) < MAX_ROWS or seen in self._counts):
            self._counts[seen] += 1

    def take(self) -> list[list[Any]]:
        """Return what was counted since the last time, as JSON has it."""
        counted = [[*each, count] for each, count in self._counts.items()]
        self._counts.clear()
        return counted
