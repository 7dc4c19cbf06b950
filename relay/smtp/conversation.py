"""How far one SMTP conversation has come: the table of `states`, walked, and what goes with it.

It must not know bytes, arguments or what is sent: the engine says what has happened or what was
answered, and this is where it leads (RFC 5321 4.1.4, 3207 4.2, 3030 2). Whether a command may come
is for `sequence` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.smtp.commands import Command
from relay.smtp.events import DataStart, Hello, MailFrom, Message, RcptTo, StartTls
from relay.smtp.extensions import Extensions
from relay.smtp.reception import Reception
from relay.smtp.server_replies import Fault
from relay.smtp.states import TRANSITIONS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.smtp.reception import Chunk
    from relay.smtp.replies import Reply

__all__ = ["ANSWERED", "NOTHING_OFFERED", "Conversation"]

NOTHING_OFFERED: Final = Extensions()
"""What is offered before the first EHLO, and after HELO."""

# Looked up once: see server.py. For its sake, too, `code < 400` stands for `Reply.is_positive` here.
_MAIL: Final = Command.MAIL
_RCPT: Final = Command.RCPT
_DATA: Final = Command.DATA
_READY: Final = State.READY
_CLOSED: Final = State.CLOSED


class Conversation:
    """The state, what the last greeting agreed on, and the message on its way in.

    The engine also counts `errors` (commands refused or wrong since the last accepted message) and
    notes in `has_refused` that a MAIL or RCPT was wrong; `mail_data` keeps its `chunk` here while it is
    read. All the rest is only read from outside.

    Args:
        max_line_bytes: of a message, without CRLF.
        max_idle_commands: what NOOP, RSET and the like may come to between two accepted MAIL.
        tls_required: nothing but a greeting and STARTTLS before TLS.
        tls_active: TLS from the first byte.
    """

    __slots__ = (
        "_idle_commands",
        "_max_idle_commands",
        "_max_line_bytes",
        "chunk",
        "errors",
        "has_refused",
        "max_message_bytes",
        "max_recipients",
        "offered",
        "reception",
        "state",
        "tls_active",
        "tls_required",
    )

    def __init__(
        self,
        max_line_bytes: int,
        max_idle_commands: int,
        *,
        tls_required: bool,
        tls_active: bool = False,
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_idle_commands = max_idle_commands
        self.tls_required = tls_required
        self.tls_active = tls_active
        self.state = State.GREETING
        self.offered = NOTHING_OFFERED
        self.max_message_bytes = 0
        self.max_recipients = 0
        self.reception: Reception | None = None
        self.chunk: Chunk | None = None
        self.has_refused = False
        self._idle_commands = 0
        self.errors = 0

    def banner_sent(self) -> None:
        """Let the client begin."""
        self.state = State.START

    def greeted(self, offered: Extensions, max_message_bytes: int, max_recipients: int) -> None:
        """Begin anew with what is offered now: a greeting does what RSET does (RFC 5321 4.1.4)."""
        self.count_idle()
        self.move(Command.EHLO)
        self._forget_message()
        self.offered = offered
        self.max_message_bytes = max_message_bytes
        self.max_recipients = max_recipients

    def tls_started(self) -> None:
        """Begin anew under TLS: all that was said before is forgotten (RFC 3207 4.2)."""
        self.tls_active = True
        self.state = State.START
        self.offered = NOTHING_OFFERED

    def hello_refused(self, _: Hello, __: Reply) -> None:
        """Stay as it is; a greeting is no progress, accepted or not."""
        self.count_idle()

    def tls_answered(self, _: StartTls, reply: Reply) -> None:
        """Wait for the handshake, if it was accepted."""
        if reply.code < 400:
            self.move(Command.STARTTLS)

    def sender_answered(self, question: MailFrom, reply: Reply) -> None:
        """Begin a message (RFC 5321 3.3)."""
        if reply.code < 400:
            self.state = TRANSITIONS[self.state][_MAIL]
            self.reception = Reception(
                question.sender, self.max_message_bytes, self._max_line_bytes
            )
            self.has_refused = False
            self._idle_commands = 0
        else:
            self.has_refused = True

    def recipient_answered(self, _: RcptTo, reply: Reply) -> None:
        """Count a recipient to the message."""
        if reply.code < 400:
            assert self.reception is not None
            self.reception.recipients += 1
            self.state = TRANSITIONS[self.state][_RCPT]
        else:
            self.has_refused = True

    def data_answered(self, question: DataStart, reply: Reply) -> None:
        """Let the content come; what of a chunk was refused comes all the same (RFC 3030 2)."""
        if question.chunking:
            assert self.chunk is not None
            self.move(Command.BDAT)
            if reply.code >= 400:
                self.chunk.fault = Fault("", reply)
        elif reply.code < 400:
            self.state = TRANSITIONS[self.state][_DATA]
        else:
            self.end_message()

    def message_answered(self, _: Message, reply: Reply) -> None:
        """Be done with it, whatever the answer; an accepted message makes up for all errors."""
        self.end_message()
        if reply.code < 400:
            self.errors = 0

    def chunk_refused(self, *, is_last: bool) -> None:
        """Fail the message: what follows of it is of no use (RFC 3030 2)."""
        if self.state not in (State.CHUNKS, State.FAILED):
            return  # it was out of place, and belongs to no message
        if is_last:
            self.end_message()
        else:
            assert self.reception is not None
            self.reception.content.drop()
            self.state = State.FAILED

    def end_message(self) -> None:
        """Be done with the message."""
        self.state = _READY
        self._forget_message()

    def reset(self) -> None:
        """Do what RSET does (RFC 5321 4.1.1.5)."""
        self.move(Command.RSET)
        self._forget_message()

    def count_idle(self) -> None:
        """Count a command that leads nowhere; too many of them are errors."""
        self._idle_commands += 1
        if self._idle_commands > self._max_idle_commands:
            self.errors += 1

    def move(self, command: Command) -> None:
        """Go where a command that has succeeded leads."""
        self.state = TRANSITIONS[self.state][command]

    def close(self) -> None:
        """End it; what was coming in is lost."""
        self.state = _CLOSED
        self.reception = None
        self.chunk = None

    def _forget_message(self) -> None:
        self.reception = None
        self.has_refused = False


ANSWERED: Final[Mapping[type, Callable[[Conversation, Any, Reply], None]]] = {
    Hello: Conversation.hello_refused,
    StartTls: Conversation.tls_answered,
    MailFrom: Conversation.sender_answered,
    RcptTo: Conversation.recipient_answered,
    DataStart: Conversation.data_answered,
    Message: Conversation.message_answered,
}
"""What follows from the caller's answer to a question, by its type."""
