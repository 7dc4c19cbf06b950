"""What MAIL FROM says: the sender and what it announces (RFC 5321 4.1.1.2).

Whether the client may use it is not asked here (`identity`), nor what its domain publishes (`spf`).
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

__all__ = ["FACTS", "SenderCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "sender.address",
        FactType.STRING,
        Stage.SENDER,
        'The sender as it stood on the wire; "" for the null sender.',
    ),
    Fact("sender.local", FactType.STRING, Stage.SENDER, "What stands before the @, as written."),
    Fact(
        "sender.domain",
        FactType.STRING,
        Stage.SENDER,
        "Its domain in lower case, A-labels as U-labels, no final dot.",
    ),
    Fact(
        "sender.is_null",
        FactType.BOOL,
        Stage.SENDER,
        "Whether it is the null sender `<>`, which notifications have.",
    ),
    Fact(
        "sender.size_bytes", FactType.INT, Stage.SENDER, "The size announced (SIZE=); 0 for none."
    ),
    Fact("sender.smtputf8", FactType.BOOL, Stage.SENDER, "Whether the message needs SMTPUTF8."),
)


class Settings(Table):
    """The sender: nothing to set."""


def build(_settings: Settings, _tools: Tools) -> SenderCheck:
    """Make the check."""
    return SenderCheck()


class SenderCheck:
    """Reports at once (`policy.check.Check`)."""

    def report(self, case: Case, _stage: Stage, _wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return all facts."""
        sender = case.sender
        assert sender is not None
        address = sender.address
        return {
            "sender.address": str(address) if address else "",
            "sender.local": address.local if address else "",
            "sender.domain": canonical_domain(address.domain) if address else "",
            "sender.is_null": address is None,
            "sender.size_bytes": sender.size_bytes,
            "sender.smtputf8": sender.smtputf8,
        }
