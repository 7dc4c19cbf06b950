r"""The state of an SMTP server connection, as one table (RFC 5321 3.1, 4.1.4; RFC 3030 2).

It must not know what a command does, what its arguments are or what is replied.

How to read it
--------------
Rule 1: `TRANSITIONS[state][command]` is where the connection is once the command has *succeeded*.
A refused command changes nothing. A pair that is not in the table is out of sequence: 503 (and the
few cases where another code is due stand in `sequence.py`).

Rule 2: what belongs to a transaction (sender, recipients, content) lives in one object
(`Conversation.reception`), which exists from SENDER to FAILED. Whatever leads to READY or
START throws it away: that is all there is to RSET.

Rule 3: four moves are not commands. They are methods of `Conversation`:

    GREETING   -> START      the banner is sent
    HANDSHAKE  -> START      TLS is there; nothing of before counts any more (RFC 3207 4.2)
    CONTENT    -> READY      CRLF.CRLF has come, and the message is answered
    CHUNKS     -> READY      BDAT LAST has come, and the message is answered; or -> FAILED: a chunk
                             was refused, and what follows of this message is read and dropped

    GREETING --banner--> START --EHLO--> READY --MAIL--> SENDER --RCPT--> RECIPIENT --DATA--> CONTENT
                           ^               |  ^                               |                  |
                           |            STARTTLS \----- RSET, end of message <-|--- CHUNKS <-BDAT-'
                           '-- HANDSHAKE <-'
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from relay.smtp.commands import Command

__all__ = ["TRANSITIONS", "State"]


class State(StrEnum):
    """Where a connection is."""

    GREETING = "greeting"
    """The banner has not been sent; the client has to wait for it."""
    START = "start"
    """No EHLO or HELO yet (or again, after STARTTLS)."""
    READY = "ready"
    """Between transactions."""
    SENDER = "sender"
    """MAIL was accepted."""
    RECIPIENT = "recipient"
    """At least one RCPT was accepted."""
    CONTENT = "content"
    """354 was sent: what comes is the message, not commands."""
    CHUNKS = "chunks"
    """At least one BDAT was accepted, and the last one has not come."""
    FAILED = "failed"
    """A BDAT was refused; the rest of this message is of no use (RFC 3030 2)."""
    HANDSHAKE = "handshake"
    """220 was sent to STARTTLS: whatever comes now is TLS, and not for this engine."""
    CLOSED = "closed"
    """The last reply has been queued."""


_ANYTIME: Final = (Command.NOOP, Command.HELP, Command.VRFY)


def _row(state: State, moves: dict[Command, State]) -> dict[Command, State]:
    """A row with what every open connection allows (RFC 5321 4.1.4)."""
    staying = dict.fromkeys(_ANYTIME, state)
    return {**staying, Command.QUIT: State.CLOSED, **moves}


_GREETINGS: Final = {Command.EHLO: State.READY, Command.HELO: State.READY}
_BACK: Final = {**_GREETINGS, Command.RSET: State.READY}

TRANSITIONS: Final[dict[State, dict[Command, State]]] = {
    State.GREETING: {},
    # RSET before EHLO is harmless and stays where it is.
    State.START: _row(State.START, {**_GREETINGS, Command.RSET: State.START}),
    State.READY: _row(
        State.READY,
        {**_BACK, Command.MAIL: State.SENDER, Command.STARTTLS: State.HANDSHAKE},
    ),
    State.SENDER: _row(State.SENDER, {**_BACK, Command.RCPT: State.RECIPIENT}),
    State.RECIPIENT: _row(
        State.RECIPIENT,
        {
            **_BACK,
            Command.RCPT: State.RECIPIENT,
            Command.DATA: State.CONTENT,
            Command.BDAT: State.CHUNKS,
        },
    ),
    State.CONTENT: {},
    State.CHUNKS: _row(State.CHUNKS, {**_BACK, Command.BDAT: State.CHUNKS}),
    # The client need not send RSET after a refused chunk: MAIL begins anew.
    State.FAILED: _row(State.FAILED, {**_BACK, Command.MAIL: State.SENDER}),
    State.HANDSHAKE: {},
    State.CLOSED: {},
}
