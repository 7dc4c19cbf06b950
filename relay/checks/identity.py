"""Who the certificate proves the client to be, and what its allowlist entry lets it do.

Knows nothing of certificates: the trust decision was made before (`pki/trust.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.pki.allowlist import may_connect_from, may_reach, may_send
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.model import Address, Identity, Tier
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value
    from relay.ports import Clock

__all__ = ["FACTS", "IdentityCheck", "Settings", "build", "foreseen"]

_DAY_SECONDS: Final = 86_400

FACTS: Final = (
    Fact(
        "identity.known",
        FactType.BOOL,
        Stage.HELLO,
        "Whether the client is one of the allowlist, proven by its certificate.",
    ),
    Fact(
        "identity.name", FactType.STRING, Stage.HELLO, 'Its name in the allowlist; "" for nobody.'
    ),
    Fact(
        "identity.tier",
        FactType.STRING,
        Stage.HELLO,
        'How far it is trusted: "new", "verified" or "trusted"; "" for nobody.',
    ),
    Fact(
        "identity.status",
        FactType.STRING,
        Stage.HELLO,
        'The trust decision: "pinned", "named", "absent", "unpinned", ...; "" if nobody was asked.',
    ),
    Fact(
        "identity.age_days",
        FactType.INT,
        Stage.HELLO,
        "Whole days since its pins count (`not_before`), else since its certificate became valid; 0 for nobody.",
    ),
    Fact(
        "identity.may_connect",
        FactType.BOOL,
        Stage.HELLO,
        "Whether its `networks` let it come from here; true for nobody.",
    ),
    Fact(
        "identity.may_send",
        FactType.BOOL,
        Stage.SENDER,
        "Whether its `senders` let it use this sender; true for nobody.",
    ),
    Fact(
        "identity.may_reach",
        FactType.BOOL,
        Stage.RECIPIENT,
        "Whether its `recipients` let it send to this recipient; true for nobody.",
    ),
    Fact(
        "identity.may_write",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether its `senders` let it use the authors in the header field From, unless its `header_from` "
        "frees it of that; true for nobody.",
    ),
    Fact(
        "identity.authors",
        FactType.STRINGS,
        Stage.MESSAGE,
        "Whom it writes as: the addresses in the header field From; empty if that can't be read.",
    ),
)


class Settings(Table):
    """Who the client is: nothing to set."""


def build(_: Settings, tools: Tools) -> IdentityCheck:
    """Make the check."""
    return IdentityCheck(tools.clock)


def foreseen(tier: Tier | None) -> dict[str, Value]:
    """What the check will say of any client of a tier, and of any without an identity."""
    return {"identity.known": tier is not None, "identity.tier": tier.value if tier else ""}


class IdentityCheck:
    """Reports at once (`policy.check.Check`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def report(self, case: Case, stage: Stage, _wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return all facts of a stage."""
        identity = case.identity
        if stage is Stage.SENDER:
            sender = case.sender.address if case.sender else None
            return {"identity.may_send": identity is None or may_send(identity, sender)}
        if stage is Stage.RECIPIENT:
            assert case.recipient is not None
            reachable = identity is None or may_reach(identity, case.recipient.address)
            return {"identity.may_reach": reachable}
        if stage is Stage.MESSAGE:
            return {
                "identity.may_write": identity is None or _may_write(identity, case.authors),
                "identity.authors": tuple(map(str, case.authors or ())),
            }
        return {
            **foreseen(identity.tier if identity else None),
            "identity.name": identity.name if identity else "",
            "identity.status": case.decision.status.value if case.decision else "",
            "identity.age_days": self._age_days(case, identity) if identity else 0,
            "identity.may_connect": identity is None or _may_connect(identity, case),
        }

    def _age_days(self, case: Case, identity: Identity) -> int:
        since = identity.not_before
        if since is None and case.tls is not None and case.tls.certificates:
            since = case.tls.certificates[0].not_before
        if since is None:
            return 0
        return max(0, int((self._clock.now() - since).total_seconds() // _DAY_SECONDS))


def _may_connect(identity: Identity, case: Case) -> bool:
    if identity.networks is None:
        return True
    address = case.peer.ip
    # A Unix socket has no address: an identity bound to networks can't come from there.
    return address is not None and may_connect_from(identity, address)


def _may_write(identity: Identity, authors: tuple[Address, ...] | None) -> bool:
    if identity.senders is None or identity.header_from == "any":
        return True
    # No author, two From fields or one that can't be read: nobody has vouched for it.
    return bool(authors) and all(may_send(identity, author) for author in authors or ())
