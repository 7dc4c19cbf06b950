"""The rules that hold wherever an identity is known: what its allowlist entry lets it do.

Each rule is a name, a stage, the breach it looks for, and the reply. They are in force on every
listener and cannot be switched off: an identity without a limit simply never breaks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from relay.pki.allowlist import may_connect_from, may_reach, may_send
from relay.policy.facts import Stage
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.policy.case import Case

__all__ = ["IDENTITY_RULES", "Rule"]


class Rule(NamedTuple):
    """One rule: at `at`, if `is_broken`, the answer is `reply`."""

    name: str
    at: Stage
    is_broken: Callable[[Case], bool]
    reply: Callable[[Case], Reply]


def _network_is_foreign(case: Case) -> bool:
    identity = case.identity
    if identity is None or identity.networks is None:
        return False
    address = case.peer.ip
    # A Unix socket has no address: an identity bound to networks can't come from there.
    return address is None or not may_connect_from(identity, address)


def _sender_is_foreign(case: Case) -> bool:
    identity, sender = case.identity, case.sender
    return identity is not None and sender is not None and not may_send(identity, sender.address)


def _recipient_is_foreign(case: Case) -> bool:
    identity, recipient = case.identity, case.recipient
    return (
        identity is not None
        and recipient is not None
        and not may_reach(identity, recipient.address)
    )


def _author_is_foreign(case: Case) -> bool:
    identity = case.identity
    if identity is None or identity.senders is None or identity.header_from == "any":
        return False
    # No author, two From fields or one that can't be read: nobody has vouched for it.
    return not case.authors or not all(may_send(identity, author) for author in case.authors)


def _refusal(text: str) -> Callable[[Case], Reply]:
    def reply(case: Case) -> Reply:
        words = text.format(
            identity=case.identity.name if case.identity else "",
            peer=case.peer.address,
            sender=case.sender or "",
            recipient=case.recipient or "",
            authors=", ".join(map(str, case.authors or ())) or "no readable From",
        )
        return Reply(550, "5.7.1", (words,))

    return reply


IDENTITY_RULES = (
    Rule(
        "identity_network",
        Stage.SENDER,  # not earlier: clients lose the words of a refused EHLO
        _network_is_foreign,
        _refusal("{identity} may not connect from {peer}"),
    ),
    Rule(
        "identity_sender",
        Stage.SENDER,
        _sender_is_foreign,
        _refusal("{identity} may not send as <{sender}>"),
    ),
    Rule(
        "identity_recipient",
        Stage.RECIPIENT,
        _recipient_is_foreign,
        _refusal("{identity} may not send to <{recipient}>"),
    ),
    Rule(
        "identity_author",
        Stage.MESSAGE,
        _author_is_foreign,
        _refusal("{identity} may not write as {authors} (header From)"),
    ),
)
