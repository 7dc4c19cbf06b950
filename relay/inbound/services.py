"""What every session of a worker needs of the world, behind ports, and what it offers because of it.

One value for all sessions; it must not know any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from relay.smtp.extensions import Extensions
from relay.smtp.server import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from relay.inbound.authentication_results import AuthenticationResults
    from relay.inbound.judging import Panel
    from relay.inbound.sealing import Sealing
    from relay.inbound.signing import Signing
    from relay.mail.hygiene import Hygiene
    from relay.model import Restriction
    from relay.policy.case import Case
    from relay.policy.check import Offload
    from relay.policy.consequences import Consequences
    from relay.policy.engine import Engine
    from relay.policy.ledger import Ledger
    from relay.ports import (
        AuditSink,
        Budget,
        Clock,
        Feedback,
        NextHop,
        Policies,
        Statistics,
        Trust,
    )
    from relay.settings.limits import Limits, Timeouts

__all__ = ["Services"]


@dataclass(frozen=True, slots=True)
class Services:
    """The world, as a session sees it."""

    hostname: str
    limits: Limits
    timeouts: Timeouts
    clock: Clock
    audit: AuditSink
    trust: Trust
    policies: Policies
    panel: Panel
    consequences: Consequences
    ledger: Ledger
    bans_are_permanent: bool
    restrict: Callable[[Restriction], Awaitable[None]]
    next_hop: NextHop
    budget: Budget
    statistics: Statistics
    authentication_results: AuthenticationResults
    offload: Offload
    signing: Signing | None = None
    sealing: Sealing | None = None
    feedback: Feedback | None = None
    hygiene: Mapping[tuple[str, str], Hygiene] = field(default_factory=dict)
    of_connection: ServerLimits = field(init=False)
    """What of the limits one connection is held to."""

    def __post_init__(self) -> None:
        limits = ServerLimits(
            max_message_bytes=self.limits.max_message_bytes,
            max_line_bytes=self.limits.max_line_bytes,
            max_recipients=self.limits.max_recipients,
            max_errors=self.limits.max_errors,
        )
        object.__setattr__(self, "of_connection", limits)

    def rules(self, case: Case) -> Engine:
        """Return the rules in force for a session's peer, as it is known now."""
        return self.policies.engine(case.listener, case.identity)

    def offer(self, *, starttls: bool) -> Extensions:
        """Return what EHLO is answered with: our own abilities, and of the rest what every next hop offers."""
        return _offer(
            self.next_hop.extensions(),
            max_message_bytes=self.limits.max_message_bytes,
            max_recipients=self.limits.max_recipients,
            mailmax=self.limits.max_messages_per_connection,
            starttls=starttls,
        )


@lru_cache(maxsize=16)
def _offer(
    theirs: Extensions, *, max_message_bytes: int, max_recipients: int, mailmax: int, starttls: bool
) -> Extensions:
    sizes = [size for size in (max_message_bytes, theirs.size_bytes) if size]
    return Extensions(
        size_bytes=min(sizes, default=0),
        eightbitmime=theirs.eightbitmime,
        smtputf8=theirs.smtputf8,
        dsn=theirs.dsn,
        chunking=True,
        pipelining=True,
        enhanced_status_codes=True,
        starttls=starttls,
        rcptmax=min(max_recipients, theirs.rcptmax or max_recipients),
        mailmax=mailmax,
    )
