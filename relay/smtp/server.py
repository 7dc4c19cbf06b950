"""The server's side of SMTP as pure computation: bytes in, events out, replies out (RFC 5321).

It must not know who the peer is, what the policy says or where mail goes: it asks by an event and
waits for the answer. Everything that the protocol alone decides it replies to itself.

    receive(bytes) -> next_event() -> [the caller decides] -> answer(reply) -> data_to_send()

While an event waits for its answer, nothing of what has been received is looked at: that makes
PIPELINING (RFC 2920) need no code but the checks of what must stand last in a group. Replies are
queued and handed out together.

Here bytes become commands, and findings become events and replies. Where an answer leads is
`conversation`'s to know, what a command asks is in `questions`, DATA and BDAT are in `mail_data`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from relay.smtp import server_replies as replies
from relay.smtp.commands import Command, next_command
from relay.smtp.conversation import ANSWERED, NOTHING_OFFERED, Conversation
from relay.smtp.events import (
    NEED_DATA,
    PAUSE,
    Closed,
    Event,
    Hello,
    Question,
    Violation,
)
from relay.smtp.extensions import Extensions, lower_limit
from relay.smtp.framing import InputBuffer
from relay.smtp.mail_data import begin_chunk, read_mail_data
from relay.smtp.questions import QUESTIONS
from relay.smtp.replies import Reply, format_reply
from relay.smtp.sequence import AFTER_REFUSAL, LAST_IN_GROUP, WITHOUT_ARGUMENT, objection
from relay.smtp.server_replies import Fault
from relay.smtp.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ServerEngine", "ServerLimits"]


class ServerLimits(NamedTuple):
    """What one connection may take; `max_message_bytes` 0 means no limit."""

    max_message_bytes: int
    max_line_bytes: int = 998
    """Of a message, without CRLF (RFC 5321 4.5.3.1.6)."""
    max_command_bytes: int = 2048
    """512 (RFC 5321 4.5.3.1.4) and what SIZE, SMTPUTF8, DSN and the like add, rounded up."""
    max_recipients: int = 1000
    max_errors: int = 10
    """Refused or wrong commands since the last accepted message; then 421."""
    max_idle_commands: int = 100
    """NOOP, RSET and the like since the last accepted MAIL; each one more counts as an error."""


_STEPS: Final = 32
"""So many commands are looked at between two pauses: sent ahead, tens of thousands come at once."""

# Python 3.11 takes 50 ns to find a member of an enumeration: what is asked for often is looked up once.
_CLOSED: Final = State.CLOSED
_MESSAGE_STATES: Final = frozenset({State.CONTENT, State.CHUNKS})
_BDAT: Final = Command.BDAT


class ServerEngine:
    """One connection's protocol.

    Args:
        hostname: our name in the reply to EHLO.
        limits: what the peer may take.
        tls_required: nothing but a greeting and STARTTLS before TLS.
        tls_active: TLS from the first byte.
        reference: an id for the replies that end a connection, so that they can be looked up.
    """

    __slots__ = (
        "_conversation",
        "_hostname",
        "_input",
        "_is_ended",
        "_limits",
        "_output",
        "_question",
        "_reason",
        "_reference",
        "_steps",
    )

    def __init__(
        self,
        hostname: str,
        limits: ServerLimits,
        *,
        tls_required: bool,
        tls_active: bool = False,
        reference: str = "",
    ) -> None:
        self._hostname = hostname
        self._limits = limits
        self._reference = reference
        self._conversation = Conversation(
            limits.max_line_bytes,
            limits.max_idle_commands,
            tls_required=tls_required,
            tls_active=tls_active,
        )
        self._input = InputBuffer()
        self._output: list[bytes] = []
        self._question: Question | None = None
        self._is_ended = False
        self._reason = ""
        self._steps = 0  # since the last pause, or since bytes came

    # --- what the connection brings and takes -----------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if data and self._conversation.state is not _CLOSED:
            self._input.append(data)
            self._steps = 0

    def end_of_stream(self) -> None:
        """Note that the peer will send nothing more; what it has sent still counts."""
        self._is_ended = True

    def data_to_send(self) -> bytes:
        """Hand out the queued replies."""
        if not self._output:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        return data

    @property
    def errors(self) -> int:
        """How many commands were refused or wrong since the last accepted message."""
        return self._conversation.errors

    @property
    def in_transaction(self) -> bool:
        """Whether a MAIL was accepted that has neither been answered to the end nor reset."""
        return self._conversation.reception is not None

    @property
    def in_message(self) -> bool:
        """Whether a message is coming in."""
        return self._question is None and self._conversation.state in _MESSAGE_STATES

    @property
    def message_bytes(self) -> int:
        """How much of the message coming in is held in memory."""
        reception = self._conversation.reception
        if not self.in_message or reception is None:
            return 0
        return reception.content.kept_bytes + len(self._input)

    # --- what the caller says ---------------------------------------------------------------

    def greet(self, reply: Reply) -> None:
        """Send the banner; unless the peer did not wait for it, which `next_event` will tell."""
        conversation = self._conversation
        self._expect(conversation.state is State.GREETING, "the banner has been sent")
        if not self._input:
            self._queue(reply)
            conversation.banner_sent()

    def accept_hello(self, extensions: Extensions) -> None:
        """Answer EHLO or HELO positively; what is offered here holds until the next one."""
        hello = self._question
        self._expect(isinstance(hello, Hello), "there is no greeting to accept")
        assert isinstance(hello, Hello)
        self._question = None
        self._conversation.greeted(
            extensions if hello.verb == "EHLO" else NOTHING_OFFERED,
            lower_limit(self._limits.max_message_bytes, extensions.size_bytes or 0),
            lower_limit(self._limits.max_recipients, extensions.rcptmax),
        )
        self._queue(extensions.hello_reply(self._hostname, hello.verb))

    def answer(self, reply: Reply) -> None:
        """Answer the last event. 421 ends the connection (RFC 5321 3.8)."""
        question, code = self._question, reply.code
        if question is None:
            raise RuntimeError("there is no event to answer")
        if type(question) is Hello and code < 400:
            raise RuntimeError("a greeting is accepted by accept_hello")
        if code == 421:
            self.close_with(reply)
            return
        self._question = None
        conversation = self._conversation
        if code >= 500:
            conversation.errors += 1
        if conversation.chunk is None:  # else the end of the chunk is answered (RFC 3030 2)
            self._queue(reply)
        ANSWERED[type(question)](conversation, question, reply)

    def tls_started(self) -> None:
        """Begin anew under TLS: all the peer has said before is forgotten (RFC 3207 4.2)."""
        conversation = self._conversation
        self._expect(conversation.state is State.HANDSHAKE, "STARTTLS was not answered")
        if not self._input:  # else the next event is a violation
            conversation.tls_started()

    def refuse_message(self, reply: Reply) -> None:
        """Keep nothing of the message that is coming in, and answer its end with `reply`."""
        self._expect(self.in_message, "no message is coming in")
        assert self._conversation.reception is not None
        self._conversation.reception.refuse(reply)

    def close_with(self, reply: Reply) -> None:
        """Queue a last reply; the next event is Closed. Does nothing if that is so already."""
        if self._conversation.state is not _CLOSED:
            self._queue(reply)
            self._close("refused")

    @staticmethod
    def _expect(condition: bool, problem: str) -> None:  # noqa: FBT001  reads like assert
        if not condition:
            raise RuntimeError(problem)

    # --- events -------------------------------------------------------------------------------

    def next_event(self) -> Event:
        """Say what comes next; NEED_DATA if `receive` has to come first, PAUSE if others should have a turn.

        Raises:
            RuntimeError: the last event has not been answered.
        """
        if self._question is not None:
            raise RuntimeError("the last event has not been answered")
        conversation, event = self._conversation, None
        while event is None:
            if self._steps == _STEPS:
                self._steps = 0
                return PAUSE
            self._steps += 1
            if conversation.errors >= self._limits.max_errors and conversation.state is not _CLOSED:
                event = self._tell(replies.TOO_MANY_ERRORS)
            elif conversation.chunk is not None:
                event = self._read_mail_data()
            else:
                event = _READERS.get(conversation.state, ServerEngine._read_command)(self)
        return event

    def _read_nothing(self) -> Event:
        return Closed(self._reason)

    def _read_early(self) -> Event | None:
        return self._tell(replies.EARLY_TALKER) if self._input else self._need_data()

    def _read_injected(self) -> Event | None:
        return self._tell(replies.STARTTLS_INJECTION) if self._input else self._need_data()

    def _need_data(self) -> Event:
        if not self._is_ended:
            return NEED_DATA
        self._close("end_of_stream")
        return Closed(self._reason)

    def _tell(self, fault: Fault) -> Event | None:
        """Reply to a fault; an event only if it is the peer's."""
        kind, reply, closes = fault
        if self._reference and (closes or kind == "plaintext"):
            text = f"{reply.lines[-1]} (ref {self._reference})"
            reply = reply._replace(lines=(*reply.lines[:-1], text))
        self._queue(reply)
        if not kind:
            return None
        self._conversation.errors += 1
        if closes:
            self._close("violation")
        return Violation(kind, reply, closes)

    # --- commands -----------------------------------------------------------------------------

    def _read_command(self) -> Event | None:
        found = next_command(self._input, self._limits.max_command_bytes)
        if found is None:
            return self._need_data()
        if isinstance(found, Fault):
            return self._tell(found)
        command, argument = found
        return self._command(command, argument)

    def _command(self, command: Command, argument: bytes) -> Event | None:
        if command in LAST_IN_GROUP and self._input:
            return self._tell(LAST_IN_GROUP[command])
        conversation = self._conversation
        fault = objection(command, conversation)
        if fault is not None and conversation.has_refused and command in AFTER_REFUSAL:
            # A group sent ahead goes on after its MAIL or RCPT was refused; that is no offence.
            fault = fault._replace(kind="")
            conversation.count_idle()
        if command is _BDAT:
            return self._put(begin_chunk(conversation, argument, fault))
        if fault is not None:
            return self._tell(fault)
        return self._carry_out(command, argument)

    def _carry_out(self, command: Command, argument: bytes) -> Event | None:
        if argument and command in WITHOUT_ARGUMENT:
            return self._tell(replies.NO_ARGUMENT_ALLOWED)
        ask = QUESTIONS.get(command)
        if ask is None:
            return self._carry_out_alone(command, argument)
        question = ask(self._conversation, command, argument)
        if isinstance(question, Fault):
            if question.kind and command in (Command.MAIL, Command.RCPT):
                self._conversation.has_refused = True
            return self._tell(question)
        self._question = question
        return question

    def _carry_out_alone(self, command: Command, argument: bytes) -> Event | None:
        """Carry out what nobody need be asked about."""
        if command is Command.VRFY and not argument:
            return self._tell(replies.VRFY_SYNTAX)
        self._conversation.count_idle()
        self._queue(_SMALL_COMMANDS[command])
        if command is Command.QUIT:
            self._close("quit")
        elif command is Command.RSET:
            self._conversation.reset()
        return None

    # --- what is found ------------------------------------------------------------------------

    def _read_mail_data(self) -> Event | None:
        found = read_mail_data(self._conversation, self._input)
        return self._need_data() if found is None else self._put(found)

    def _put(self, found: Question | Fault | Reply | None) -> Event | None:
        """Put a question to the caller, or tell the peer."""
        if isinstance(found, Fault):
            return self._tell(found)
        if isinstance(found, Reply):
            self._queue(found)
            return None
        self._question = found
        return found

    # --- small things -------------------------------------------------------------------------

    def _queue(self, reply: Reply) -> None:
        self._output.append(format_reply(reply))

    def _close(self, reason: str) -> None:
        self._conversation.close()
        self._reason = reason
        self._question = None
        self._input.clear()


_SMALL_COMMANDS: Final = {
    Command.NOOP: replies.NOOP_DONE,
    Command.RSET: replies.RSET_DONE,
    Command.VRFY: replies.VRFY_DONE,
    Command.HELP: replies.HELP_DONE,
    Command.QUIT: replies.QUIT_DONE,
}

# Tables instead of a chain of questions: they are asked for each command of each message.
_READERS: Final[Mapping[State, Callable[[ServerEngine], Event | None]]] = {
    State.GREETING: ServerEngine._read_early,  # noqa: SLF001  the tables of this file's own methods
    State.HANDSHAKE: ServerEngine._read_injected,  # noqa: SLF001
    State.CONTENT: ServerEngine._read_mail_data,  # noqa: SLF001
    State.CLOSED: ServerEngine._read_nothing,  # noqa: SLF001
}
