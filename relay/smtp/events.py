"""What the server engine tells its caller (`ServerEngine.next_event`).

Events that want an answer: Hello, StartTls, MailFrom, RcptTo, DataStart, Message. The engine is paused
until `answer` is called. Violation, Closed and PAUSE tell, and want nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from relay.model import Recipient, Sender
    from relay.smtp.framing import Content
    from relay.smtp.replies import Reply

__all__ = [
    "NEED_DATA",
    "PAUSE",
    "Closed",
    "DataStart",
    "Event",
    "Hello",
    "MailFrom",
    "Message",
    "NeedData",
    "Pause",
    "Question",
    "RcptTo",
    "StartTls",
    "Violation",
]


class NeedData:
    """The engine can say nothing until `receive` brings more bytes."""

    def __repr__(self) -> str:
        return "NEED_DATA"


NEED_DATA: Final = NeedData()


class Pause:
    """Much has been done of what has come, and there is more: let others have a turn, then go on."""

    def __repr__(self) -> str:
        return "PAUSE"


PAUSE: Final = Pause()


class Hello(NamedTuple):
    """EHLO or HELO; `is_valid` by the grammar of RFC 5321 4.1.1.1 (policy decides what follows)."""

    verb: str
    name: str
    is_valid: bool


class StartTls(NamedTuple):
    """STARTTLS (RFC 3207). After a positive answer the caller upgrades and calls `tls_started`."""


class MailFrom(NamedTuple):
    """MAIL FROM in the right place, in the right form."""

    sender: Sender


class RcptTo(NamedTuple):
    """RCPT TO in the right place, in the right form."""

    recipient: Recipient


class DataStart(NamedTuple):
    """DATA, or the first BDAT of a message.

    DATA is answered with 354 or a refusal. A positive answer to BDAT sends nothing; a refusal is
    sent once the chunk has been read (RFC 3030 2).
    """

    chunking: bool
    size_bytes: int
    """Declared by MAIL's SIZE, or the first BDAT's size; 0 if not known."""


class Message(NamedTuple):
    """A whole message: CRLF line ends, dot-stuffing undone, nothing else changed.

    It is the receiver's to take (`content.take_body`), beside its event loop where it is large.
    """

    content: Content
    chunking: bool


class Violation(NamedTuple):
    """The peer broke the protocol; `reply` is already queued, and Closed follows if it `closes`.

    `kind` is a stable word: plaintext, early_talker, pipelining, starttls_injection, bare_newline,
    nul, line_too_long, command_too_long, unknown_command, syntax, sequence, too_many_errors,
    message_too_large, foreign_protocol.
    """

    kind: str
    reply: Reply
    closes: bool


class Closed(NamedTuple):
    """Nothing more will come of this engine: send `data_to_send` and close.

    `reason` is quit, violation, refused (an answer of 421, or `close_with`) or end_of_stream.
    """

    reason: str


Question = Hello | StartTls | MailFrom | RcptTo | DataStart | Message
"""What wants an answer."""

Event = Question | Violation | Closed | NeedData | Pause
