"""A message that nothing stands against, on its way to the next hop: as it leaves us, and what came of it.

Which next hop, and whether at all, has been decided before; this must not know the client's connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Unavailable
from relay.inbound import evidence
from relay.mail import trace
from relay.policy.facts import Stage
from relay.policy.ledger import Event

if TYPE_CHECKING:
    from relay.inbound.judging import Judging
    from relay.inbound.register import Register
    from relay.inbound.services import Services
    from relay.inbound.transaction import Transaction
    from relay.mail.headers import HeaderBlock
    from relay.model import Delivery, Octets
    from relay.policy.case import Case

__all__ = ["Dispatch"]


class Dispatch:
    """Hands the messages of one session on.

    Args:
        case: what is known of the session; its `header` and `message` are what goes.
        judging: what was found out of it.
        services: the next hop, and what signs and seals.
        register: where the outcome is written down.
    """

    __slots__ = ("_case", "_introduction", "_judging", "_origin", "_register", "_services")

    def __init__(
        self, case: Case, judging: Judging, services: Services, register: Register
    ) -> None:
        self._case = case
        self._judging = judging
        self._services = services
        self._register = register
        self._origin: trace.Origin | None = None
        self._introduction: dict[str, str] | None = None

    def client_changed(self) -> None:
        """Forget who sends: there was a handshake, another greeting or another decision."""
        self._origin = self._introduction = None

    def introduction(self) -> dict[str, str]:
        """Return what XCLIENT and XFORWARD may tell the next hop of this client."""
        if self._introduction is None:
            case = self._case
            self._introduction = {
                "NAME": "[UNAVAILABLE]",
                "ADDR": case.peer.address,
                "PORT": str(case.peer.port),
                "PROTO": "ESMTP",
                "HELO": case.hello,
                "LOGIN": case.identity.name if case.identity else "",
                "IDENT": self._register.reference,
            }
        return self._introduction

    async def deliver(self, transaction: Transaction, block: HeaderBlock) -> Delivery:
        """Offer the message to the transaction's next hop, and return what came of it."""
        assert transaction.route is not None
        chunks = await self._as_it_leaves(transaction, block)
        return await self._services.next_hop.deliver(
            transaction.route, transaction.envelope, chunks, self.introduction()
        )

    async def conclude(self, transaction: Transaction, delivery: Delivery) -> None:
        """Put the outcome on record."""
        services, case = self._services, self._case
        outcome = evidence.outcome_of(delivery)
        statistics = services.statistics
        statistics.count(outcome)
        if delivery.accepted:
            services.ledger.note(Event.DELIVERED, case)
        statistics.count_by("deliveries", delivery.route, outcome)
        statistics.delivery_took(delivery.elapsed.total_seconds())
        try:
            fields = evidence.transaction(case, transaction, delivery)
            fields |= self._judging.evidence()
            self._register.record("transaction", fields)
            await services.audit.flushed()
        except Unavailable as error:
            # The next hop has the message: anything but its own reply would be a lie.
            services.audit.fault("transaction not recorded", error)

    async def _as_it_leaves(self, transaction: Transaction, block: HeaderBlock) -> list[Octets]:
        """Put what is ours in front of the message: fields, signatures, a seal."""
        services, case = self._services, self._case
        assert transaction.route is not None
        if services.sealing is not None:
            await services.sealing.prepare(case)
        self._origin = self._origin or trace.origin_of(case, case.decision)
        authentication = services.authentication_results
        results = authentication.value(
            case, self._judging.facts(Stage.MESSAGE), self._origin.client
        )
        chunks = trace.stamp(
            block,
            self._origin,
            envelope=transaction.envelope,
            hostname=services.hostname,
            reference=transaction.reference,
            now=services.clock.now(),
            tags=self._judging.tags,
            reserved=services.rules(case).tag_headers,
            results=results,
            forged=authentication.forged(block),
            hygiene=services.hygiene.get((case.listener, transaction.route.name)),
        )
        if services.signing is not None:
            chunks = await services.signing.sign(chunks, case)
        if services.sealing is not None:
            chunks = await services.sealing.seal(chunks, case, results)
        return chunks
