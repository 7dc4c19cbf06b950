"""Whether a command may come now, and what is said if not (RFC 5321 4.1.4, 2920 3.1, 3207 4).

It must not know arguments, content or what the caller decides; the order itself is the table in
`states`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.smtp import server_replies as replies
from relay.smtp.commands import Command
from relay.smtp.states import TRANSITIONS, State

if TYPE_CHECKING:
    from relay.smtp.conversation import Conversation
    from relay.smtp.server_replies import Fault

__all__ = ["AFTER_REFUSAL", "LAST_IN_GROUP", "WITHOUT_ARGUMENT", "objection"]

_STARTTLS: Final = Command.STARTTLS  # looked up once: see server.py
# RFC 3207 4, and HELP, which tells nothing.
_BEFORE_TLS: Final = frozenset(
    {Command.EHLO, Command.HELO, Command.STARTTLS, Command.NOOP, Command.HELP, Command.QUIT}
)

LAST_IN_GROUP: Final = {
    Command.EHLO: replies.PIPELINING,
    Command.HELO: replies.PIPELINING,
    Command.DATA: replies.PIPELINING,
    Command.STARTTLS: replies.STARTTLS_INJECTION,
}
"""What may have nothing sent behind it before its reply, and what is said to who does.

RFC 2920 3.1 has VRFY, NOOP and QUIT too; behind those nothing can be smuggled.
"""

AFTER_REFUSAL: Final = frozenset({Command.RCPT, Command.DATA, Command.BDAT})
"""What a client that pipelines may have sent before it could know that MAIL or RCPT was refused."""

WITHOUT_ARGUMENT: Final = frozenset({Command.STARTTLS, Command.DATA, Command.RSET, Command.QUIT})

_OUT_OF_SEQUENCE: Final[dict[State, dict[Command, Fault]]] = {
    State.READY: {
        Command.RCPT: replies.MAIL_FIRST,
        Command.DATA: replies.MAIL_FIRST,
        Command.BDAT: replies.MAIL_FIRST,
    },
    State.SENDER: {
        Command.MAIL: replies.NESTED_MAIL,
        Command.DATA: replies.NO_VALID_RECIPIENTS,
        Command.BDAT: replies.NO_VALID_RECIPIENTS,
        Command.STARTTLS: replies.NOT_IN_TRANSACTION,
    },
    State.RECIPIENT: {
        Command.MAIL: replies.NESTED_MAIL,
        Command.STARTTLS: replies.NOT_IN_TRANSACTION,
    },
}
_ANYTHING_ELSE: Final = {
    State.START: replies.HELLO_FIRST,
    State.CHUNKS: replies.CONTENT_COMES_BY_BDAT,
    State.FAILED: replies.CHUNK_WAS_REFUSED,
}


def objection(command: Command, conversation: Conversation) -> Fault | None:
    """Say why the command may not come now, whatever its argument; None: it may."""
    state, tls_active = conversation.state, conversation.tls_active
    if conversation.tls_required and not tls_active and command not in _BEFORE_TLS:
        return replies.NEEDS_STARTTLS
    if command is _STARTTLS and tls_active:
        return replies.TLS_ACTIVE_ALREADY
    if command not in TRANSITIONS[state]:
        return _OUT_OF_SEQUENCE.get(state, {}).get(command) or _ANYTHING_ELSE[state]
    if command is _STARTTLS and not conversation.offered.starttls:
        return replies.TLS_NOT_OFFERED
    return None
