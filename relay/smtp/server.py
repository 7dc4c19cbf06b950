"""The server's side of SMTP as pure computation: bytes in, events out, replies out (RFC 5321).

It must not know who the peer is, what the policy says or where mail goes: it asks by an event and
waits for the answer. Everything that the protocol alone decides it replies to itself.

    receive(bytes) -> next_event() -> [the caller decides] -> answer(reply) -> data_to_send()

While an event waits for its answer, nothing of what has been received is looked at: that makes
PIPELINING (RFC 2920) need no code but the checks of what must stand last in a group. Replies are
queued and handed out together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.smtp import server_replies as replies
from relay.smtp.commands import (
    Command,
    next_command,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
)
from relay.smtp.events import (
    NEED_DATA,
    Closed,
    DataStart,
    Event,
    Hello,
    MailFrom,
    Message,
    RcptTo,
    StartTls,
    Violation,
)
from relay.smtp.extensions import Extensions, lower_limit
from relay.smtp.framing import InputBuffer
from relay.smtp.reception import Chunk, Reception
from relay.smtp.replies import Reply, format_reply
from relay.smtp.sequence import AFTER_REFUSAL, LAST_IN_GROUP, WITHOUT_ARGUMENT, objection
from relay.smtp.server_replies import Fault
from relay.smtp.states import TRANSITIONS, State

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


_NOTHING: Final = Extensions()
"""What is offered before the first EHLO, and after HELO."""

# Python 3.11 takes 50 ns to find a member of an enumeration: what is asked for often is looked up once.
_READY: Final = State.READY
_CLOSED: Final = State.CLOSED
_MESSAGE_STATES: Final = frozenset({State.CONTENT, State.CHUNKS})
_MAIL: Final = Command.MAIL
_RCPT: Final = Command.RCPT
_DATA: Final = Command.DATA
_BDAT: Final = Command.BDAT

_Question = Hello | StartTls | MailFrom | RcptTo | DataStart | Message


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
        "_chunk",
        "_has_refused",
        "_hostname",
        "_idle_commands",
        "_input",
        "_is_ended",
        "_limits",
        "_max_message_bytes",
        "_max_recipients",
        "_offered",
        "_output",
        "_question",
        "_reason",
        "_reception",
        "_reference",
        "_state",
        "_tls_active",
        "_tls_required",
        "errors",
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
        self._tls_required = tls_required
        self._tls_active = tls_active
        self._reference = reference
        self._state = State.GREETING
        self._input = InputBuffer()
        self._output: list[bytes] = []
        self._question: _Question | None = None
        self._reception: Reception | None = None
        self._chunk: Chunk | None = None
        self._offered = _NOTHING
        self._max_message_bytes = limits.max_message_bytes
        self._max_recipients = limits.max_recipients
        self._has_refused = False
        self._idle_commands = 0
        self._is_ended = False
        self._reason = ""
        self.errors = 0

    # --- what the connection brings and takes -----------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if data and self._state is not _CLOSED:
            self._input.append(data)

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
    def in_transaction(self) -> bool:
        """Whether a MAIL was accepted that has neither been answered to the end nor reset."""
        return self._reception is not None

    @property
    def in_message(self) -> bool:
        """Whether a message is coming in."""
        return self._question is None and self._state in _MESSAGE_STATES

    @property
    def message_bytes(self) -> int:
        """How much of the message coming in is held in memory."""
        if not self.in_message or self._reception is None:
            return 0
        return self._reception.content.kept_bytes + len(self._input)

    # --- what the caller says ---------------------------------------------------------------

    def greet(self, reply: Reply) -> None:
        """Send the banner; unless the peer did not wait for it, which `next_event` will tell."""
        self._expect(self._state is State.GREETING, "the banner has been sent")
        if not self._input:
            self._queue(reply)
            self._state = State.START

    def accept_hello(self, extensions: Extensions) -> None:
        """Answer EHLO or HELO positively; what is offered here holds until the next one."""
        hello = self._question
        self._expect(isinstance(hello, Hello), "there is no greeting to accept")
        assert isinstance(hello, Hello)
        self._question = None
        # RFC 5321 4.1.4: a greeting does what RSET does; HELO has no extensions.
        self._forget_message()
        self._offered = extensions if hello.verb == "EHLO" else _NOTHING
        self._max_message_bytes = lower_limit(
            self._limits.max_message_bytes, extensions.size_bytes or 0
        )
        self._max_recipients = lower_limit(self._limits.max_recipients, extensions.rcptmax)
        self._move(Command.EHLO)
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
        if code >= 500:
            self.errors += 1
        _ANSWERED[type(question)](self, question, reply)

    def tls_started(self) -> None:
        """Begin anew under TLS: all the peer has said before is forgotten (RFC 3207 4.2)."""
        self._expect(self._state is State.HANDSHAKE, "STARTTLS was not answered")
        self._tls_active = True
        if not self._input:  # else the next event is a violation
            self._state = State.START
            self._offered = _NOTHING

    def refuse_message(self, reply: Reply) -> None:
        """Keep nothing of the message that is coming in, and answer its end with `reply`."""
        self._expect(self.in_message, "no message is coming in")
        assert self._reception is not None
        self._reception.refuse(reply)

    def close_with(self, reply: Reply) -> None:
        """Queue a last reply; the next event is Closed. Does nothing if that is so already."""
        if self._state is not _CLOSED:
            self._queue(reply)
            self._close("refused")

    @staticmethod
    def _expect(condition: bool, problem: str) -> None:  # noqa: FBT001  reads like assert
        if not condition:
            raise RuntimeError(problem)

    # --- what follows from the caller's answers -----------------------------------------------

    def _hello_answered(self, _: Hello, reply: Reply) -> None:
        self._queue(reply)  # a refusal, which changes nothing

    def _tls_answered(self, _: StartTls, reply: Reply) -> None:
        self._queue(reply)
        if reply.is_positive:
            self._move(Command.STARTTLS)

    def _sender_answered(self, question: MailFrom, reply: Reply) -> None:
        self._queue(reply)
        self._has_refused = not (is_accepted := reply.is_positive)
        if is_accepted:
            self._reception = Reception(
                question.sender, self._max_message_bytes, self._limits.max_line_bytes
            )
            self._move(_MAIL)
            self._idle_commands = 0

    def _recipient_answered(self, _: RcptTo, reply: Reply) -> None:
        self._queue(reply)
        if reply.is_positive:
            assert self._reception is not None
            self._reception.recipients += 1
            self._move(_RCPT)
        else:
            self._has_refused = True

    def _data_answered(self, question: DataStart, reply: Reply) -> None:
        if question.chunking:  # RFC 3030 2: BDAT is answered at the end of its chunk
            assert self._chunk is not None
            self._move(_BDAT)
            if not reply.is_positive:
                self._chunk.fault = Fault("", reply)
            return
        self._queue(reply)
        if reply.is_positive:
            self._move(_DATA)
        else:
            self._end_message()

    def _message_answered(self, _: Message, reply: Reply) -> None:
        self._queue(reply)
        self._end_message()
        if reply.is_positive:
            self.errors = 0

    # --- events -------------------------------------------------------------------------------

    def next_event(self) -> Event:
        """Say what comes next; NEED_DATA if `receive` has to come first.

        Raises:
            RuntimeError: the last event has not been answered.
        """
        if self._question is not None:
            raise RuntimeError("the last event has not been answered")
        event = None
        while event is None:
            if self.errors >= self._limits.max_errors and self._state is not _CLOSED:
                event = self._tell(replies.TOO_MANY_ERRORS)
            elif self._chunk is not None:
                event = self._read_chunk(self._chunk)
            else:
                event = _READERS.get(self._state, ServerEngine._read_command)(self)
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

    def _ask(self, question: _Question) -> Event:
        self._question = question
        return question

    def _tell(self, fault: Fault) -> Event | None:
        """Reply to a fault; an event only if it is the peer's."""
        kind, reply, closes = fault
        if self._reference and (closes or kind == "plaintext"):
            text = f"{reply.lines[-1]} (ref {self._reference})"
            reply = reply._replace(lines=(*reply.lines[:-1], text))
        self._queue(reply)
        if not kind:
            return None
        self.errors += 1
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
        fault = objection(
            command,
            self._state,
            self._offered,
            tls_active=self._tls_active,
            tls_required=self._tls_required,
        )
        if fault is not None and self._has_refused and command in AFTER_REFUSAL:
            # A group sent ahead goes on after its MAIL or RCPT was refused; that is no offence.
            fault = fault._replace(kind="")
            self._count_idle()
        if command is _BDAT:
            return self._on_bdat(argument, fault)
        if fault is not None:
            return self._tell(fault)
        if argument and command in WITHOUT_ARGUMENT:
            return self._tell(replies.NO_ARGUMENT_ALLOWED)
        return _ON_COMMAND.get(command, ServerEngine._on_small_command)(self, command, argument)

    def _on_starttls(self, _: Command, __: bytes) -> Event:
        return self._ask(StartTls())

    def _on_data(self, _: Command, __: bytes) -> Event:
        assert self._reception is not None
        size = self._reception.sender.size_bytes
        return self._ask(DataStart(chunking=False, size_bytes=size))

    def _on_hello(self, command: Command, argument: bytes) -> Event | None:
        name, is_valid = parse_hello(argument)
        if not name:
            return self._tell(replies.HELLO_SYNTAX)
        self._count_idle()
        return self._ask(Hello(str(command), name, is_valid))

    def _on_mail(self, _: Command, argument: bytes) -> Event | None:
        sender = parse_mail(argument, self._offered)
        if isinstance(sender, Reply):
            self._has_refused = True
            return self._tell(Fault("syntax", sender))
        if 0 < self._max_message_bytes < sender.size_bytes:  # RFC 1870 6.1
            self._has_refused = True
            return self._tell(replies.MESSAGE_TOO_LARGE)
        return self._ask(MailFrom(sender))

    def _on_rcpt(self, _: Command, argument: bytes) -> Event | None:
        reception = self._reception
        assert reception is not None
        if reception.recipients >= self._max_recipients:
            # RFC 5321 4.5.3.1.10: no offence, the client sends the rest in another transaction.
            return self._tell(replies.TOO_MANY_RECIPIENTS)
        recipient = parse_rcpt(argument, self._offered, smtputf8=reception.sender.smtputf8)
        if isinstance(recipient, Reply):
            self._has_refused = True
            return self._tell(Fault("syntax", recipient))
        return self._ask(RcptTo(recipient))

    def _on_small_command(self, command: Command, argument: bytes) -> Event | None:
        if command is Command.VRFY and not argument:
            return self._tell(replies.VRFY_SYNTAX)
        self._count_idle()
        self._queue(_SMALL_COMMANDS[command])
        if command is Command.QUIT:
            self._close("quit")
        elif command is Command.RSET:
            self._move(command)
            self._forget_message()
        return None

    # --- content ------------------------------------------------------------------------------

    def _read_data(self) -> Event | None:
        reception = self._reception
        assert reception is not None
        if not self._input:
            return self._need_data()
        is_whole = reception.read_data(self._input)
        if reception.content.has_bare_newline:
            return self._tell(replies.BARE_NEWLINE)
        if not is_whole:
            return self._need_data()
        fault = reception.fault()
        if fault is not None:
            self._end_message()
            return self._tell(fault)
        return self._message(reception, chunking=False)

    def _on_bdat(self, argument: bytes, fault: Fault | None) -> Event | None:
        parsed = parse_bdat(argument)
        if parsed is None:
            # Where the chunk ends nobody knows: its content would be taken for commands.
            return self._tell(replies.BDAT_SYNTAX)
        if fault is None and not self._offered.chunking:
            fault = replies.NOT_IMPLEMENTED
        size, is_last = parsed
        self._chunk = Chunk(size, is_last=is_last, fault=fault)
        if fault is not None:
            return None
        reception = self._reception
        assert reception is not None
        reception.content.announce(size)
        if self._state is State.RECIPIENT and not reception.content.is_too_large:
            declared = reception.sender.size_bytes
            return self._ask(DataStart(chunking=True, size_bytes=declared or size))
        self._move(_BDAT)
        return None

    def _read_chunk(self, chunk: Chunk) -> Event | None:
        if chunk.remaining_bytes and not self._input:
            return self._need_data()
        content = None
        if chunk.fault is None and self._reception is not None:
            content = self._reception.content
        is_whole = chunk.read(self._input, content)
        if content is not None and content.has_bare_newline:
            return self._tell(replies.BARE_NEWLINE)
        return self._end_chunk(chunk) if is_whole else None

    def _end_chunk(self, chunk: Chunk) -> Event | None:
        self._chunk = None
        reception = self._reception
        fault = chunk.fault
        if fault is None:
            assert reception is not None
            fault = reception.fault()
            if fault is None and chunk.is_last:
                return self._message(reception, chunking=True)
        if fault is None:
            self._queue(replies.chunk_done(chunk.size_bytes))
            return None
        if chunk.is_last and self._state in (State.CHUNKS, State.FAILED):
            self._end_message()
        elif self._state is State.CHUNKS:
            assert reception is not None
            reception.content.drop()
            self._state = State.FAILED
        return self._tell(fault)

    def _message(self, reception: Reception, *, chunking: bool) -> Event:
        return self._ask(Message(reception.content, chunking))

    # --- small things -------------------------------------------------------------------------

    def _queue(self, reply: Reply) -> None:
        self._output.append(format_reply(reply))

    def _move(self, command: Command) -> None:
        """Go where a command that has succeeded leads."""
        self._state = TRANSITIONS[self._state][command]

    def _end_message(self) -> None:
        """The message has been answered, whatever the answer."""
        self._state = _READY
        self._forget_message()

    def _forget_message(self) -> None:
        self._reception = None
        self._has_refused = False

    def _count_idle(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._limits.max_idle_commands:
            self.errors += 1

    def _close(self, reason: str) -> None:
        self._state = _CLOSED
        self._reason = reason
        self._question = None
        self._reception = None
        self._chunk = None
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
    State.CONTENT: ServerEngine._read_data,  # noqa: SLF001
    State.CLOSED: ServerEngine._read_nothing,  # noqa: SLF001
}
_ON_COMMAND: Final[Mapping[Command, Callable[[ServerEngine, Command, bytes], Event | None]]] = {
    Command.EHLO: ServerEngine._on_hello,  # noqa: SLF001
    Command.HELO: ServerEngine._on_hello,  # noqa: SLF001
    Command.STARTTLS: ServerEngine._on_starttls,  # noqa: SLF001
    Command.MAIL: ServerEngine._on_mail,  # noqa: SLF001
    Command.RCPT: ServerEngine._on_rcpt,  # noqa: SLF001
    Command.DATA: ServerEngine._on_data,  # noqa: SLF001
}
_ANSWERED: Final[Mapping[type, Callable[[ServerEngine, Any, Reply], None]]] = {
    Hello: ServerEngine._hello_answered,  # noqa: SLF001
    StartTls: ServerEngine._tls_answered,  # noqa: SLF001
    MailFrom: ServerEngine._sender_answered,  # noqa: SLF001
    RcptTo: ServerEngine._recipient_answered,  # noqa: SLF001
    DataStart: ServerEngine._data_answered,  # noqa: SLF001
    Message: ServerEngine._message_answered,  # noqa: SLF001
}
