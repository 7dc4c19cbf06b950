"""What one session leaves behind: audit records, counts, and what they say of its client.

It is told what has happened, and decides nothing; which fields that makes stands in `evidence.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.inbound import evidence, failures
from relay.policy.ledger import DOWNGRADES, VIOLATIONS, Event
from relay.policy.limits import Count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.inbound.services import Services
    from relay.policy.case import Case
    from relay.smtp import events
    from relay.smtp.replies import Reply
    from relay.tls.clienthello import ClientHello

__all__ = ["Register"]


class Register:
    """Writes down what happens in one session.

    Args:
        case: what is known of the session; the session keeps it up to date.
        services: where records, counts and events go.
        reference: the id that the session's records share.
    """

    __slots__ = ("_case", "_services", "reference")

    def __init__(self, case: Case, services: Services, reference: str) -> None:
        self._case = case
        self._services = services
        self.reference = reference

    def record(self, kind: str, fields: dict[str, object]) -> None:
        """Put on record, under the session's reference.

        Raises:
            Unavailable: the record can't be written now.
        """
        if kind == "refusal":
            self._services.statistics.count_by("refusals", str(fields["rule"]))
        fields["reference"] = fields.get("reference") or self.reference
        fields["session"] = self.reference
        self._services.audit.record(kind, fields)

    # --- what is refused ----------------------------------------------------------------------

    def refused(self, reply: Reply, rule: str, basis: dict[str, object] | None = None) -> Reply:
        """Write down a refusal, and what it rests on; return what the client is told: with the reference id."""
        told = failures.with_reference(reply, self.reference)
        self._services.statistics.count("refused")
        fields = evidence.refusal(self._case, told, rule)
        self.record("refusal", fields | basis if basis else fields)
        return told

    def refused_by_next_hop(self, reply: Reply) -> None:
        """Write down that the next hop does not take a recipient."""
        self._services.statistics.count("deferred" if reply.is_transient else "rejected")
        self.record("refusal", evidence.refusal(self._case, reply, "next_hop"))
        self.rejected(Event.UNKNOWN_RECIPIENT if reply.is_permanent else None)

    def violated(self, event: events.Violation) -> None:
        """Write down what the protocol engine has refused by itself."""
        noted = VIOLATIONS.get(event.kind)
        self.rejected(noted)
        if event.closes or noted is Event.PLAINTEXT:
            self._services.statistics.count("refused")
            fields = evidence.refusal(self._case, event.reply, event.kind)
            downgrades = (noted,) if noted in DOWNGRADES else ()
            self.record("refusal", fields | self._downgraded(downgrades))

    def rejected(self, event: Event | None = None) -> None:
        """Count a rejected command, and note what it says of the client, if anything."""
        self._services.ledger.count(Count.REJECTED_COMMANDS, self._case)
        if event is not None:
            self._services.ledger.note(event, self._case)

    # --- handshakes ---------------------------------------------------------------------------

    async def handshake(self, refusal: Reply | None) -> None:
        """Write down a handshake, who the peer turned out to be, and what it will be told if it is nobody."""
        case, services = self._case, self._services
        self._count_handshake()
        fields = evidence.handshake(case, refusal)
        if downgrades := await services.ledger.handshake(case):
            fields |= self._downgraded(downgrades)
        self.record("handshake", fields)

    def handshake_failed(self, hello: ClientHello | None, reason: str) -> None:
        """Write down a handshake that came to nothing."""
        services = self._services
        services.statistics.count("handshakes_failed")
        services.statistics.count_by("handshakes", self._case.listener, "", "failed")
        fields = evidence.failed_handshake(self._case, hello, reason)
        downgrades = services.ledger.failed_handshake(hello, self._case)
        self.record("handshake", fields | self._downgraded(downgrades))

    def _count_handshake(self) -> None:
        statistics, case = self._services.statistics, self._case
        assert case.tls is not None
        decision = case.decision
        status = "unasked" if decision is None else decision.status
        statistics.count_by("handshakes", case.listener, case.tls.version, status)
        if decision is not None and "revocation" in decision.evidence:
            asked = decision.evidence
            statistics.count_by(
                "revocations", asked["revocation"], asked.get("revocation_source", "")
            )

    def _downgraded(self, downgrades: Sequence[Event]) -> dict[str, object]:
        """Count downgrades; return what goes on record of them."""
        for event in downgrades:
            self._services.statistics.count_by("downgrades", event)
        return evidence.downgraded(downgrades)
