"""Command lines as values: which command it is, and what its argument says (RFC 5321 4.1.1).

It knows nothing of states: whether a command may come now is for `states` and the engine. A
refusal is a `Reply`; nothing here raises.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.model import Address, Recipient, Sender
from relay.smtp import grammar
from relay.smtp import server_replies as replies
from relay.smtp.framing import LineFault
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from relay.smtp.extensions import Extensions
    from relay.smtp.framing import InputBuffer
    from relay.smtp.server_replies import Fault

__all__ = [
    "Chunk",
    "Command",
    "CommandLine",
    "next_command",
    "parse_bdat",
    "parse_command",
    "parse_hello",
    "parse_mail",
    "parse_rcpt",
]


class Command(StrEnum):
    """The commands that the server engine carries out."""

    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    HELP = "HELP"
    QUIT = "QUIT"


_COMMANDS: Final = {command.encode(): command for command in Command}

_UNIMPLEMENTED: Final = frozenset(
    b"EXPN SEND SOML SAML TURN ETRN ATRN AUTH BURL XCLIENT XFORWARD".split()
)
"""Commands of SMTP that we know by name only: 502, not 500 (RFC 5321 4.2.4)."""

_FOREIGN_VERBS: Final = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS CONNECT TRACE PATCH PRI INVITE REGISTER".split()
)
"""Commands of other protocols: a browser led astray, perhaps."""


_NUL: Final = 0
_TLS_HANDSHAKE: Final = 0x16  # RFC 8446 5.1: the type of the record that a TLS client sends first


_LINE_FAULTS: Final = {
    LineFault.BARE_NEWLINE: replies.BARE_NEWLINE,
    LineFault.TOO_LONG: replies.COMMAND_TOO_LONG,
}


CommandLine = tuple[Command, bytes]
"""A command and what stands behind it."""


def next_command(source: InputBuffer, max_bytes: int) -> CommandLine | Fault | None:
    """Take the next line; None if it has not come whole."""
    if source.first_byte() == _TLS_HANDSHAKE:
        return replies.FOREIGN_PROTOCOL
    line = source.next_line(max_bytes)
    if isinstance(line, bytes):
        return parse_command(line)
    return None if line is None else _LINE_FAULTS[line]


def parse_command(line: bytes) -> CommandLine | Fault:
    """Split a line into the command, in any case, and its argument; blanks at the end don't count."""
    if _NUL in line:
        return replies.NUL_IN_COMMAND
    verb, _, argument = line.rstrip(b" \t").partition(b" ")
    verb = verb.upper()
    command = _COMMANDS.get(verb)
    if command is not None:
        return command, argument
    if verb in _FOREIGN_VERBS or verb.startswith(b"SSH-"):
        return replies.FOREIGN_PROTOCOL
    return replies.NOT_IMPLEMENTED if verb in _UNIMPLEMENTED else replies.UNKNOWN_COMMAND


class Chunk(NamedTuple):
    """The argument of BDAT."""

    size_bytes: int
    is_last: bool


_BDAT: Final = re.compile(rb"([0-9]{1,20})(?: ++(LAST))?", re.IGNORECASE)


def parse_bdat(argument: bytes) -> Chunk | None:
    """Read `size [LAST]` (RFC 3030 2)."""
    found = _BDAT.fullmatch(argument)
    return None if found is None else Chunk(int(found[1]), found[2] is not None)


def parse_hello(argument: bytes) -> tuple[str, bool]:
    """The name behind EHLO or HELO, safe to print, and whether it is one by the grammar."""
    name = argument.strip(b" ").decode("utf-8", "replace")
    is_valid = grammar.is_hello_name(name)
    if not is_valid:
        name = "".join(c if c.isprintable() else "?" for c in name)
    return name, is_valid


# RFC 5321 4.1.2, enhanced codes RFC 3463 3.2
_SENDER_SYNTAX: Final = Reply(501, "5.1.7", ("Bad sender address syntax",))
_RECIPIENT_SYNTAX: Final = Reply(501, "5.1.3", ("Bad recipient address syntax",))
_NEEDS_SMTPUTF8: Final = Reply(
    553, "5.6.7", ("Non-ASCII address, SMTPUTF8 needed",)
)  # RFC 6531 3.5
_PARAMETER_SYNTAX: Final = Reply(501, "5.5.4", ("Bad parameter syntax",))
_UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", ("Parameter not recognized",))  # RFC 5321 4.1.1.11


class _Parameter(NamedTuple):
    """A parameter of MAIL or RCPT: what its value looks like, and what must have been offered."""

    pattern: re.Pattern[str]
    extension: str


_MAIL_PARAMETERS: Final = {
    "SIZE": _Parameter(re.compile(r"[0-9]{1,20}"), "size_bytes"),  # RFC 1870 3
    "BODY": _Parameter(re.compile("7BIT|8BITMIME", re.IGNORECASE), "eightbitmime"),  # RFC 6152 2
    "SMTPUTF8": _Parameter(re.compile(""), "smtputf8"),  # RFC 6531 3.4
    "RET": _Parameter(re.compile("FULL|HDRS", re.IGNORECASE), "dsn"),  # RFC 3461 4.3
    "ENVID": _Parameter(grammar.ENVID, "dsn"),  # RFC 3461 4.4
}
_RCPT_PARAMETERS: Final = {
    "NOTIFY": _Parameter(grammar.NOTIFY, "dsn"),  # RFC 3461 4.1
    "ORCPT": _Parameter(grammar.ORCPT, "dsn"),  # RFC 3461 4.2
}


def parse_mail(argument: bytes, offered: Extensions) -> Sender | Reply:
    """Read `FROM:<reverse-path> [parameters]` (RFC 5321 4.1.1.2)."""
    text = _decoded(argument)
    start = _path_start(text, "FROM:")
    if start < 0:
        return _SENDER_SYNTAX
    address: Address | None
    if text.startswith("<>", start):
        address, end = None, start + 2
    else:
        path = grammar.read_path(text, start)
        if path is None:
            return _SENDER_SYNTAX
        address, end = path
    if end == len(text) and text.isascii():
        return Sender(address)
    values = _parameters(text[end:], _MAIL_PARAMETERS, offered)
    if isinstance(values, Reply):
        return values
    smtputf8 = "SMTPUTF8" in values
    if not smtputf8 and not text.isascii():
        return _NEEDS_SMTPUTF8
    return Sender(
        address,
        int(values.get("SIZE", 0)),
        values.get("BODY", "").upper(),
        smtputf8,
        values.get("RET", ""),
        values.get("ENVID", ""),
    )


def parse_rcpt(argument: bytes, offered: Extensions, *, smtputf8: bool) -> Recipient | Reply:
    """Read `TO:<forward-path> [parameters]` (RFC 5321 4.1.1.3)."""
    text = _decoded(argument)
    start = _path_start(text, "TO:")
    if start < 0:
        return _RECIPIENT_SYNTAX
    path = grammar.read_path(text, start)
    if path is not None:
        address, end = path
    elif text[start : start + len(_POSTMASTER)].lower() == _POSTMASTER:  # RFC 5321 4.5.1
        end = start + len(_POSTMASTER)
        address = Address(text[start + 1 : end - 1], "")
    else:
        return _RECIPIENT_SYNTAX
    if not (smtputf8 or text.isascii()):
        return _NEEDS_SMTPUTF8
    if end == len(text):
        return Recipient(address)
    values = _parameters(text[end:], _RCPT_PARAMETERS, offered)
    if isinstance(values, Reply):
        return values
    return Recipient(address, values.get("NOTIFY", ""), values.get("ORCPT", ""))


_POSTMASTER: Final = "<postmaster>"


def _decoded(argument: bytes) -> str:
    """The argument as text; what is no UTF-8 becomes a character that no address may hold."""
    return argument.decode("utf-8", "surrogateescape")


def _path_start(text: str, keyword: str) -> int:
    """Where the path begins, -1 if the keyword is not there; one blank is tolerated, as peers do."""
    end = len(keyword)
    if text[:end].upper() != keyword:
        return -1
    return end + 1 if text.startswith(" ", end) else end


def _parameters(
    text: str, known: dict[str, _Parameter], offered: Extensions
) -> dict[str, str] | Reply:
    values = grammar.parse_parameters(text)
    if values is None:
        return _PARAMETER_SYNTAX
    for keyword, value in values.items():
        parameter = known.get(keyword)
        if parameter is None:
            return _UNKNOWN_PARAMETER
        offer = getattr(offered, parameter.extension)
        if offer is None or offer is False:  # SIZE 0 is an offer
            return _UNKNOWN_PARAMETER
        if parameter.pattern.fullmatch(value) is None:
            return _PARAMETER_SYNTAX
    return values
