"""The one place where what went wrong becomes what the client reads.

Trust decisions become refusals, broken worlds become 4xx. No exception text passes here, and no
words that tell a stranger more than its own certificate does (features: replies, section 5.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model import TrustDecision, TrustStatus
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from relay.settings.listener import Listener

__all__ = [
    "BANNED",
    "BANNED_FOR_NOW",
    "BAN_BEGUN",
    "BUDGET_SPENT",
    "DATA_GO_AHEAD",
    "HEADER_TOO_LONG",
    "LOOP",
    "OTHER_NEXT_HOP",
    "RECIPIENT_OK",
    "RELAY_DENIED",
    "SENDER_OK",
    "SHUTTING_DOWN",
    "TIMED_OUT",
    "TLS_GO_AHEAD",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_MESSAGES",
    "UNEXPECTED",
    "internal_error",
    "trust_lost",
    "trust_refusal",
    "with_reference",
]

SENDER_OK = Reply(250, "2.1.0", ("Ok",))
RECIPIENT_OK = Reply(250, "2.1.5", ("Ok",))
DATA_GO_AHEAD = Reply(354, "", ("End data with <CR><LF>.<CR><LF>",))
TLS_GO_AHEAD = Reply(220, "2.0.0", ("Ready to start TLS",))

BANNED = Reply(554, "5.7.1", ("Your address is banned here",))  # RFC 5321 3.1: instead of a banner
BANNED_FOR_NOW = Reply(421, "4.7.1", ("Your address is banned here for now, try again later",))
BAN_BEGUN = Reply(421, "4.7.0", ("Your address is banned here, closing the connection",))
RELAY_DENIED = Reply(554, "5.7.1", ("Relay access denied",))
OTHER_NEXT_HOP = Reply(452, "4.5.3", ("Another next hop; send to this recipient separately",))
BUDGET_SPENT = Reply(452, "4.3.1", ("Insufficient system resources, try again later",))
LOOP = Reply(554, "5.4.6", ("Too many hops, the message is looping",))
HEADER_TOO_LONG = Reply(552, "5.3.4", ("Message header too long",))
TIMED_OUT = Reply(421, "4.4.2", ("Timeout, closing the connection",))
SHUTTING_DOWN = Reply(421, "4.3.2", ("Service shutting down, try again later",))
TOO_MANY_MESSAGES = Reply(421, "4.7.0", ("Too many messages on this connection",))
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("Too many connections",))
UNEXPECTED = Reply(451, "4.3.0", ("Local problem, try again later",))

_TRUST_TEXTS = {
    TrustStatus.ABSENT: (421, "4.7.1", "No client certificate presented"),
    TrustStatus.UNPINNED: (421, "4.7.1", "Client certificate not on the allowlist"),
    TrustStatus.UNTRUSTED: (421, "4.7.1", "Client certificate not trusted"),
    TrustStatus.EXPIRED: (421, "4.7.1", "Client certificate or its pin has expired"),
    TrustStatus.NOT_YET_VALID: (421, "4.7.1", "Client certificate or its pin is not yet valid"),
    TrustStatus.WRONG_USAGE: (421, "4.7.1", "Client certificate is not made for this use"),
    TrustStatus.WEAK_KEY: (421, "4.7.5", "Client certificate is too weak"),
    TrustStatus.MALFORMED: (421, "4.7.5", "Client certificate can't be read"),
    TrustStatus.REVOKED: (554, "5.7.1", "Client certificate has been revoked"),
    TrustStatus.REVOCATION_UNKNOWN: (451, "4.7.5", "Revocation status unknown, try again later"),
    TrustStatus.SUSPENDED: (550, "5.7.13", "Identity suspended"),
}
_ALWAYS_REFUSED = {TrustStatus.REVOKED, TrustStatus.SUSPENDED, TrustStatus.REVOCATION_UNKNOWN}


def trust_refusal(decision: TrustDecision, listener: Listener) -> Reply | None:
    """Return what a peer with this decision is told at this listener; None: it may go on.

    Where a certificate is optional, one that proves nothing is no worse than none; one that has
    been revoked or suspended is.
    """
    if decision.is_trusted:
        return None
    if listener.client_certificate != "required" and decision.status not in _ALWAYS_REFUSED:
        return None
    code, enhanced, text = _TRUST_TEXTS[decision.status]
    if decision.status is TrustStatus.UNPINNED and "spki" in decision.evidence:
        text += f", its key is {decision.evidence['spki']}"
    if code == 421 and listener.refusal == "permanent":
        code, enhanced = 550, "5" + enhanced[1:]
    return Reply(code, enhanced, (text,))


def trust_lost(decision: TrustDecision) -> Reply:
    """Return the last words to a peer that was let in and is not trusted any more.

    421 whatever the cause: this is about the connection; a new one is told the rest.
    """
    _, _, text = _TRUST_TEXTS[decision.status]
    return Reply(421, "4.7.0", (f"{text}, closing the connection",))


def with_reference(reply: Reply, reference: str) -> Reply:
    """Return the reply with the reference id that `gatepost explain` understands."""
    return reply._replace(lines=(*reply.lines[:-1], f"{reply.lines[-1]} (ref {reference})"))


def internal_error(log_id: str) -> Reply:
    """Return the reply to a fault of our own; the log id finds the traceback."""
    return Reply(451, "4.3.0", (f"Local error, try again later (log {log_id})",))
