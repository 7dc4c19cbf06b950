"""Who the certificate proves the client to be, and what its allowlist entry lets it do.

Knows nothing of certificates: the trust decision was made before (`pki/trust.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.pki.allowlist import may_connect_from, may_reach, may_send
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.model import Tier
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
        self._of: Mapping[str, Callable[[Case], Value]] = {
            "identity.known": lambda case: _of_tier(case)["identity.known"],
            "identity.name": lambda case: case.identity.name if case.identity else "",
            "identity.tier": lambda case: _of_tier(case)["identity.tier"],
            "identity.status": lambda case: case.decision.status.value if case.decision else "",
            "identity.age_days": self._age_days,
            "identity.may_connect": _may_connect,
            "identity.may_send": _may_send,
            "identity.may_reach": _may_reach,
            "identity.may_write": _may_write,
            "identity.authors": lambda case: tuple(map(str, case.authors or ())),
        }

    def report(self, case: Case, _stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return the wanted facts, and no others: rules ask for two or three of them."""
        return {name: self._of[name](case) for name in wanted}

    def _age_days(self, case: Case) -> int:
        if case.identity is None:
            return 0
        since = case.identity.not_before
        if since is None and case.tls is not None and case.tls.certificates:
            since = case.tls.certificates[0].not_before
        if since is None:
            return 0
        return max(0, int((self._clock.now() - since).total_seconds() // _DAY_SECONDS))


def _of_tier(case: Case) -> Mapping[str, Value]:
    # Seldom asked for: to the rules of a worker these are given (`live_policy.py`).
    return foreseen(case.identity.tier if case.identity else None)


def _may_connect(case: Case) -> bool:
    identity = case.identity
    if identity is None or identity.networks is None:
        return True
    address = case.peer.ip
    # A Unix socket has no address: an identity bound to networks can't come from there.
    return address is not None and may_connect_from(identity, address)


def _may_send(case: Case) -> bool:
    sender = case.sender.address if case.sender else None
    return case.identity is None or may_send(case.identity, sender)


def _may_reach(case: Case) -> bool:
    assert case.recipient is not None
    return case.identity is None or may_reach(case.identity, case.recipient.address)


def _may_write(case: Case) -> bool:
    identity, authors = case.identity, case.authors
    if identity is None or identity.senders is None or identity.header_from == "any":
        return True
    # No author, two From fields or one that can't be read: nobody has vouched for it.
    return bool(authors) and all(may_send(identity, author) for author in authors or ())
