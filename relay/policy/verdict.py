"""What the policy says of one stage: pass, or which rule was broken and what follows.

Knows nothing of rules or facts; only the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from relay.smtp.replies import Reply

__all__ = ["COMPLIANT", "Verdict"]


class Verdict(NamedTuple):
    """Compliant (`reply` is None), or in breach of `rule`, answered with `reply`."""

    rule: str = ""
    reply: Reply | None = None

    @property
    def is_compliant(self) -> bool:
        """Whether the mail may go on."""
        return self.reply is None


COMPLIANT = Verdict()
"""No rule was broken."""
