"""The client's side of SMTP, sans-I/O: what to say to a next hop, and what its answers mean.

A *dialogue* is a generator. It yields a `Flight` (bytes to write at once, and how many replies to
wait for), is sent the replies, and returns the result. Whoever drives it does the I/O:

    flight = next(dialogue)
    write(flight.chunks)
    flight = dialogue.send([one reply for each phase in flight.awaits])
    ...until StopIteration, whose value is the result

So the order of an SMTP conversation reads from top to bottom here, and a test needs no stream. It
must not know streams, TLS or time. RFC 5321, 2920 (pipelining), 3030 (chunking), 3207 (STARTTLS).

Never half a delivery: the body goes out only when every recipient was accepted, or together with
the only recipient. Never a lone dot: a peer that answers 354 although a recipient was refused is
hung up on, as ending the message would deliver it empty to the others.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, TypeVar

from relay.errors import ConnectionLost, Unavailable
from relay.model import Envelope
from relay.smtp.client_commands import (
    BLOCK_BYTES,
    command,
    dot_stuffed,
    in_blocks,
    is_ascii,
    lacking,
    mail_command,
    needs_utf8,
    rcpt_command,
    xclient_command,
    xforward_command,
)
from relay.smtp.extensions import Extensions, parse_extensions
from relay.smtp.replies import Reply
from relay.smtp.reply_parser import ReplyParser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.model import Octets, Recipient

__all__ = ["ClientEngine", "Dialogue", "Flight", "Outcome", "Phase", "SessionRefused"]

Phase: TypeAlias = Literal["command", "data", "final"]
"""Which deadline a reply has: `data` for 354, `final` for the answer to the whole message."""


class Flight(NamedTuple):
    """What to write at once, and the phase of each reply that is then due.

    `chunks` may be made while they are written, to be gone through once; none is much longer than
    `BLOCK_BYTES`.
    """

    chunks: Iterable[bytes]
    awaits: Sequence[Phase]


_T = TypeVar("_T")
Dialogue: TypeAlias = Generator[Flight, Sequence[Reply], _T]


class Outcome(NamedTuple):
    """What became of a message: `reply` is the next hop's own word (or ours, if it cannot take it).

    `refused` names the recipients that were refused where the message had several.
    """

    accepted: bool
    reply: Reply
    refused: Sequence[tuple[Recipient, Reply]] = ()


class SessionRefused(Unavailable):
    """The next hop would not begin, or not in this way; `reply` is what it said."""

    def __init__(self, step: str, reply: Reply) -> None:
        super().__init__(f"{step} was answered with {reply}")
        self.reply = reply


NOT_ALL: Final = Reply(451, "4.1.0", ("Not all recipients were accepted, try again",))
"""To a message with several recipients: half a delivery would be a bounce or a loss."""

_ONE_WRITE_BYTES = BLOCK_BYTES
"""Up to here a body goes out before its recipient is accepted: a refusal then costs little."""

_COMMAND: tuple[Phase, ...] = ("command",)
_DATA: tuple[Phase, ...] = ("data",)
_FINAL: tuple[Phase, ...] = ("final",)


class ClientEngine:
    """One connection to a next hop: its extensions, its state, and the dialogues to be had.

    Args:
        hostname: our name in EHLO.
        xclient: tell the peer of the client by XCLIENT, if it offers it.
        xforward: the same by XFORWARD.
    """

    __slots__ = (
        "_hostname",
        "_introduced",
        "_needs_reset",
        "_parser",
        "_xclient",
        "_xclient_names",
        "_xforward",
        "extensions",
        "is_usable",
    )

    def __init__(self, hostname: str, *, xclient: bool = False, xforward: bool = False) -> None:
        self.extensions = Extensions()
        self.is_usable = True
        """False: the connection can't be asked anything more, and must be cut, not closed."""
        self._hostname = hostname
        self._xclient = xclient
        self._xforward = xforward
        self._xclient_names: frozenset[str] = frozenset()
        self._introduced = b""
        self._needs_reset = False
        self._parser = ReplyParser()

    # --- bytes of the peer ------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take the next bytes of the peer."""
        self._parser.receive(data)

    def next_reply(self) -> Reply | None:
        """Return the next whole reply, None if more bytes are needed.

        Raises:
            Unavailable: what the peer sent is no reply.
        """
        reply = self._parser.next_reply()
        if reply is not None and reply.code == 421:  # RFC 5321 3.8: the peer closes
            self.is_usable = False
        return reply

    @property
    def has_residue(self) -> bool:
        """Whether the peer has said more than it was asked for."""
        return self._parser.has_residue

    # --- the beginning ----------------------------------------------------------------------

    def greet(self) -> Dialogue[None]:
        """Wait for the banner. Raises SessionRefused (RFC 5321 3.1, 4.3.2)."""
        (banner,) = yield Flight((), _COMMAND)
        if banner.code != 220:
            raise SessionRefused("the connection", banner)

    def hello(self, *, fallback: bool = True) -> Dialogue[None]:
        """Say EHLO, or HELO to a peer that knows no EHLO. Raises SessionRefused.

        Without `fallback` a peer without EHLO is refused: it cannot do STARTTLS.
        """
        (reply,) = yield Flight((command(f"EHLO {self._hostname}"),), _COMMAND)
        self.extensions = Extensions()
        if reply.code == 250:
            self.extensions = parse_extensions(reply.lines)
            return
        if not (fallback and reply.is_permanent):
            raise SessionRefused("EHLO", reply)
        # RFC 5321 3.2: an old peer refuses EHLO and is greeted with HELO.
        (reply,) = yield Flight((command(f"HELO {self._hostname}"),), _COMMAND)
        if reply.code != 250:
            raise SessionRefused("HELO", reply)

    def request_tls(self) -> Dialogue[None]:
        """Ask for TLS; after it the caller does the handshake and calls `tls_started`.

        Raises:
            Unavailable: it is not offered (never go on without), refused, or plain text came
                behind the answer (CVE-2011-0411: it would be taken for the peer's TLS words).
        """
        if not self.extensions.starttls:
            raise Unavailable("STARTTLS is not offered")
        (reply,) = yield Flight((b"STARTTLS\r\n",), _COMMAND)
        if reply.code != 220:
            raise SessionRefused("STARTTLS", reply)
        if self.has_residue:
            raise Unavailable("plain text came behind the answer to STARTTLS")

    def tls_started(self) -> None:
        """Forget what was said in the clear (RFC 3207 4.2): `hello` is due again."""
        self.extensions = Extensions()
        self._parser = ReplyParser()

    # --- questions --------------------------------------------------------------------------

    def transact(
        self, envelope: Envelope, chunks: Sequence[Octets], client: Mapping[str, str]
    ) -> Dialogue[Outcome]:
        """Hand over one message in as few round trips as the peer allows.

        Raises:
            Unavailable: an answer makes no sense, or the peer will not begin.
        """
        if self._needs_reset or self._xclient:
            yield from self._prepare(client)
        is_8bit = not all(map(is_ascii, chunks))
        refusal = lacking(self.extensions, envelope, chunks, is_8bit=is_8bit)
        if refusal is not None:
            return Outcome(accepted=False, reply=refusal)
        size_bytes = sum(map(len, chunks))
        commands = self._opening(envelope, client, size_bytes, is_8bit=is_8bit)
        self._needs_reset = True
        if self.extensions.chunking:
            return (yield from self._by_chunk(commands, envelope, chunks, size_bytes))
        return (yield from self._by_data(commands, envelope, chunks))

    def probe(
        self, envelope: Envelope, recipient: Recipient, client: Mapping[str, str]
    ) -> Dialogue[Reply]:
        """Ask whether the peer takes a recipient from this sender, and take the question back.

        Returns the refusal of the sender, or the answer to the recipient.

        Raises:
            Unavailable: an answer makes no sense, or the peer will not begin.
        """
        yield from self._prepare(client)
        asked = Envelope(envelope.sender, [recipient])
        refusal = lacking(self.extensions, asked, (), is_8bit=False)
        if refusal is not None:
            return refusal
        commands = self._opening(asked, client, envelope.sender.size_bytes, is_8bit=False)
        self._needs_reset = True
        replies = yield from self._ask([*commands, b"RSET\r\n"])
        refused = self._judged(asked, replies[:-1])
        self._needs_reset = not _is_yes(replies[-1])
        return refused.reply if refused else replies[-2]

    # --- parts of a transaction -------------------------------------------------------------

    def _prepare(self, client: Mapping[str, str]) -> Dialogue[None]:
        """Clear away what the question before has left, and say who the client is."""
        if self._needs_reset:
            # In a flight of its own: were it refused, the recipients of the message before
            # would get this one too.
            (reply,) = yield Flight((b"RSET\r\n",), _COMMAND)
            if not _is_yes(reply):
                raise SessionRefused("RSET", reply)
            self._needs_reset = False
        if self._xclient:
            yield from self._introduce(client)

    def _introduce(self, client: Mapping[str, str]) -> Dialogue[None]:
        """Say XCLIENT if the client is another than before (Postfix XCLIENT_README)."""
        offered = self.extensions.xclient
        self._xclient_names = self._xclient_names or offered
        if not self._xclient_names:
            return
        line = xclient_command(self._xclient_names, client)
        if line == self._introduced:
            return
        if not offered:
            # As good as dead for this client: a new connection can be told.
            raise ConnectionLost("the next hop cannot be told of another client")
        (banner,) = yield Flight((line,), _COMMAND)
        if banner.code != 220:
            raise SessionRefused("XCLIENT", banner)
        yield from self.hello()  # the peer begins anew, with its banner
        self._introduced = line

    def _opening(
        self, envelope: Envelope, client: Mapping[str, str], size_bytes: int, *, is_8bit: bool
    ) -> list[bytes]:
        """Return XFORWARD where it is wanted, MAIL and every RCPT."""
        extensions, sender = self.extensions, envelope.sender
        commands = [
            mail_command(
                sender,
                extensions,
                size_bytes=size_bytes,
                is_8bit=is_8bit,
                is_utf8=extensions.smtputf8 and (sender.smtputf8 or needs_utf8(envelope)),
            )
        ]
        commands += [rcpt_command(recipient, extensions) for recipient in envelope.recipients]
        if self._xforward and extensions.xforward:
            commands.insert(0, xforward_command(extensions.xforward, client))
        return commands

    def _ask(self, commands: Sequence[bytes]) -> Dialogue[Sequence[Reply]]:
        """Send commands in one flight, or one by one to a peer without PIPELINING (RFC 2920).

        After a refused MAIL the rest is not asked, and counts as refused by the same reply.
        """
        if self.extensions.pipelining:
            return (yield Flight((b"".join(commands),), _COMMAND * len(commands)))
        replies: list[Reply] = []
        for line in commands:
            replies += yield Flight((line,), _COMMAND)
            if line.startswith(b"MAIL") and not _is_yes(replies[-1]):
                replies += [replies[-1]] * (len(commands) - len(replies))
                break
        return replies

    def _by_chunk(
        self,
        commands: Sequence[bytes],
        envelope: Envelope,
        chunks: Sequence[Octets],
        size_bytes: int,
    ) -> Dialogue[Outcome]:
        """MAIL, RCPT and BDAT (RFC 3030): all at once, or the body after all have said yes.

        All at once is safe for one recipient only: if it is refused, BDAT has nowhere to go and
        fails too; of several, those accepted would get the message.
        """
        last = command(f"BDAT {size_bytes} LAST")
        is_single = len(envelope.recipients) == 1
        if self.extensions.pipelining and is_single and size_bytes <= _ONE_WRITE_BYTES:
            head = b"".join((*commands, last))
            replies = yield Flight((head, *in_blocks(chunks)), _COMMAND * len(commands) + _FINAL)
            return self._judged(envelope, replies[:-1]) or self._concluded(replies[-1])
        replies = yield from self._ask(commands)
        refused = self._judged(envelope, replies)
        if refused:
            return refused
        (final,) = yield Flight(in_blocks((last, *chunks)), _FINAL)
        return self._concluded(final)

    def _by_data(
        self, commands: Sequence[bytes], envelope: Envelope, chunks: Sequence[Octets]
    ) -> Dialogue[Outcome]:
        """MAIL, RCPT and DATA (RFC 5321 3.3), the body after 354 and only if all have said yes."""
        if self.extensions.pipelining:
            head = b"".join((*commands, b"DATA\r\n"))
            replies = yield Flight((head,), _COMMAND * len(commands) + _DATA)
            refused, go_ahead = self._judged(envelope, replies[:-1]), replies[-1]
        else:
            replies = yield from self._ask(commands)
            refused = self._judged(envelope, replies)
            if refused:
                return refused
            (go_ahead,) = yield Flight((b"DATA\r\n",), _DATA)
        if refused:
            # A lone dot would deliver an empty message to the recipients that were accepted.
            self.is_usable = self.is_usable and not go_ahead.is_positive
            return refused
        if not go_ahead.is_positive:
            return Outcome(accepted=False, reply=go_ahead)
        if go_ahead.code != 354:
            raise Unavailable(f"DATA was answered with {go_ahead}")
        (final,) = yield Flight(dot_stuffed(chunks), _FINAL)
        return self._concluded(final)

    def _judged(self, envelope: Envelope, replies: Sequence[Reply]) -> Outcome | None:
        """Return the outcome if MAIL or a RCPT was refused, None if the body may follow."""
        count = len(envelope.recipients)
        mail, answers = replies[-count - 1], replies[-count:]
        if mail.code in {503, 530}:
            # About our connection (out of step, authentication wanted), not about the sender,
            # whose mail must not come back for it.
            raise SessionRefused("MAIL", mail)
        if not _is_yes(mail):
            return Outcome(accepted=False, reply=mail)
        refused = [
            (recipient, reply)
            for recipient, reply in zip(envelope.recipients, answers, strict=True)
            if not _is_yes(reply)
        ]
        if not refused:
            return None
        first = refused[0][1]
        if count == 1:
            return Outcome(accepted=False, reply=first)
        # If nobody can ever get it, the sender may know at once.
        hopeless = len(refused) == count and all(reply.is_permanent for _, reply in refused)
        return Outcome(accepted=False, reply=first if hopeless else NOT_ALL, refused=refused)

    def _concluded(self, final: Reply) -> Outcome:
        """Return the outcome that the answer to the whole message means."""
        accepted = _is_yes(final)
        # RFC 3030 2: after a failed BDAT some peers want RSET; it does no harm otherwise.
        self._needs_reset = not accepted
        return Outcome(accepted=accepted, reply=final)


def _is_yes(reply: Reply) -> bool:
    """Whether a reply is 2yz. Raises Unavailable for 3yz, which no command asked here may get."""
    if 300 <= reply.code < 400:
        raise Unavailable(f"an answer out of place: {reply}")
    return reply.code < 300
