"""The one place where what went wrong on the way out becomes what the client reads.

Next hops' replies are passed on with their own words; exceptions become 4xx, without their text
and without names of the inside. Enhanced codes: RFC 3463.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import HandshakeFailed, StreamError
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from relay.errors import GatepostError

__all__ = ["passed_on", "reply_to"]

# X.4.1: no answer from host. Whatever kept us from beginning, its 5xx included: the sender is
# not to blame for how the next hop is set up, and keeps the mail.
_NOT_AVAILABLE = Reply(451, "4.4.1", ("Next hop not available, try again later",))
# X.4.2: bad connection: it was there, and broke off, timed out or spoke nonsense.
_BROKEN_OFF = Reply(451, "4.4.2", ("Connection to the next hop failed, try again later",))
# X.7.5: cryptographic failure, here "could not be verified"; 4xx, for it can be mended.
_NOT_VERIFIED = Reply(451, "4.7.5", ("Next hop not verified, try again later",))


def reply_to(error: GatepostError) -> Reply:
    """Return what the client is told if this kept its mail from the next hop."""
    if isinstance(error, HandshakeFailed):
        return _NOT_VERIFIED
    if isinstance(error, StreamError):
        return _BROKEN_OFF
    return _NOT_AVAILABLE


def passed_on(reply: Reply) -> Reply:
    """Return a next hop's answer as our own: its words, in codes that fit this connection.

    421 would announce that *we* close (RFC 5321 3.8), and every yes is the 250 that clients
    expect. Where the next hop gives no enhanced code, X.0.0 says no more than the code does
    (RFC 2034 4 wants one in every reply).
    """
    code = reply.code
    if code == 250 and reply.enhanced:
        return reply
    if code == 421:
        code = 451
    elif code < 400:
        code = 250
    return Reply(code, reply.enhanced or f"{code // 100}.0.0", reply.lines)
