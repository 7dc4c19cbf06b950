"""What the policy says of one stage: pass, or which rule was broken and what follows.

Knows nothing of rules or facts; only the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import timedelta

    from relay.model import RestrictionKind
    from relay.smtp.replies import Reply

__all__ = ["COMPLIANT", "Sanction", "Verdict"]


class Sanction(NamedTuple):
    """What follows beyond the reply: a ban of the address or a suspension of the identity.

    `prefixes` say how much around an address is banned: of IPv4 and of IPv6.
    """

    kind: RestrictionKind
    duration: timedelta
    prefixes: tuple[int, int]
    reason: str
    rule: str


class Verdict(NamedTuple):
    """Compliant (`reply` is None), or in breach of `rule`, answered with `reply`.

    `tags` are header fields to add, name and value. `shadow` names the rules that would have had
    a say if they were in force.
    """

    rule: str = ""
    reply: Reply | None = None
    sanction: Sanction | None = None
    tags: tuple[tuple[str, str], ...] = ()
    shadow: tuple[str, ...] = ()

    @property
    def is_compliant(self) -> bool:
        """Whether the mail may go on."""
        return self.reply is None


COMPLIANT = Verdict()
"""No rule was broken."""
