"""What RCPT TO says: the recipient, and how many came before it (RFC 5321 4.1.1.3).

Whether it exists is the next hop's to say, whether the client may write to it `identity`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.pki.patterns import canonical_domain
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "RecipientCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "recipient.address",
        FactType.STRING,
        Stage.RECIPIENT,
        "The recipient as it stood on the wire.",
    ),
    Fact(
        "recipient.local", FactType.STRING, Stage.RECIPIENT, "What stands before the @, as written."
    ),
    Fact(
        "recipient.domain",
        FactType.STRING,
        Stage.RECIPIENT,
        "Its domain in lower case, A-labels as U-labels, no final dot.",
    ),
    Fact(
        "recipient.earlier",
        FactType.INT,
        Stage.RECIPIENT,
        "How many recipients of this message were accepted before this one.",
    ),
    Fact(
        "recipient.count",
        FactType.INT,
        Stage.MESSAGE,
        "How many recipients the message has.",
    ),
)


class Settings(Table):
    """The recipient: nothing to set."""


def build(_settings: Settings, _tools: Tools) -> RecipientCheck:
    """Make the check."""
    return RecipientCheck()


class RecipientCheck:
    """Reports at once (`policy.check.Check`)."""

    def report(self, case: Case, stage: Stage, _wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return all facts of a stage."""
        if stage is Stage.MESSAGE:
            return {"recipient.count": len(case.recipients)}
        assert case.recipient is not None
        address = case.recipient.address
        return {
            "recipient.address": str(address),
            "recipient.local": address.local,
            "recipient.domain": canonical_domain(address.domain),
            "recipient.earlier": len(case.recipients),
        }
