"""What the server engine replies of its own accord: every code and every word, in one place.

It must not know how the engine comes to a reply. Codes: RFC 5321 4.2; enhanced codes: RFC 3463 and
the RFC of each extension. Wording that log parsers know is kept ("Must issue a STARTTLS command
first").
"""

from __future__ import annotations

from typing import Final, NamedTuple

from relay.smtp.replies import Reply


class Fault(NamedTuple):
    """A negative reply, the word for its violation, and whether it ends the connection.

    `kind` is one of `events.Violation`, or "" for what is not the peer's fault.
    """

    kind: str
    reply: Reply
    closes: bool = False


RSET_DONE: Final = Reply(250, "2.0.0", ("Ok",))
NOOP_DONE: Final = Reply(250, "2.0.0", ("Ok",))
QUIT_DONE: Final = Reply(221, "2.0.0", ("Bye",))
# RFC 5321 3.5.3: 252 says neither yes nor no, so VRFY tells a harvester nothing.
VRFY_DONE: Final = Reply(252, "2.5.2", ("Cannot verify the user, but will take a message",))
HELP_DONE: Final = Reply(214, "2.0.0", ("See RFC 5321",))

# RFC 3207 4
NEEDS_STARTTLS: Final = Fault(
    "plaintext", Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
)
TLS_NOT_OFFERED: Final = Fault("sequence", Reply(502, "5.5.1", ("STARTTLS is not offered",)))
TLS_ACTIVE_ALREADY: Final = Fault("sequence", Reply(503, "5.5.1", ("TLS is active already",)))

UNKNOWN_COMMAND: Final = Fault("unknown_command", Reply(500, "5.5.1", ("Command not recognized",)))
NOT_IMPLEMENTED: Final = Fault("unknown_command", Reply(502, "5.5.1", ("Command not implemented",)))
COMMAND_TOO_LONG: Final = Fault("command_too_long", Reply(500, "5.5.2", ("Command line too long",)))
NUL_IN_COMMAND: Final = Fault("nul", Reply(500, "5.5.2", ("NUL in a command",)))

HELLO_SYNTAX: Final = Fault("syntax", Reply(501, "5.5.4", ("Syntax: EHLO hostname",)))
NO_ARGUMENT_ALLOWED: Final = Fault(
    "syntax", Reply(501, "5.5.4", ("This command takes no argument",))
)
VRFY_SYNTAX: Final = Fault("syntax", Reply(501, "5.5.4", ("Syntax: VRFY address",)))
BDAT_SYNTAX: Final = Fault(
    "syntax",
    Reply(501, "5.5.4", ("Syntax: BDAT size [LAST]; closing the connection",)),
    closes=True,
)

TOO_MANY_RECIPIENTS: Final = Fault("", Reply(452, "4.5.3", ("Too many recipients",)))
TOO_MANY_ERRORS: Final = Fault(
    "too_many_errors", Reply(421, "4.7.0", ("Too many errors",)), closes=True
)

MESSAGE_TOO_LARGE: Final = Fault(
    "message_too_large", Reply(552, "5.3.4", ("Message size exceeds the limit",))
)
NUL_IN_MESSAGE: Final = Fault("nul", Reply(554, "5.6.0", ("NUL in the message",)))

# After these nobody can tell what the peer means by what follows.
BARE_NEWLINE: Final = Fault(
    "bare_newline", Reply(554, "5.6.0", ("Bare CR or LF, lines must end with CRLF",)), closes=True
)
EARLY_TALKER: Final = Fault(
    "early_talker",
    Reply(554, "5.5.0", ("SMTP protocol synchronization: wait for the banner",)),
    closes=True,
)
PIPELINING: Final = Fault(
    "pipelining",
    Reply(554, "5.5.0", ("SMTP protocol synchronization: wait for the reply",)),
    closes=True,
)
STARTTLS_INJECTION: Final = Fault(
    "starttls_injection",
    Reply(554, "5.5.0", ("Data after STARTTLS and before the handshake",)),
    closes=True,
)
FOREIGN_PROTOCOL: Final = Fault(
    "foreign_protocol", Reply(554, "5.5.1", ("This is an SMTP server",)), closes=True
)


def line_too_long(max_line_bytes: int) -> Fault:
    """A line of the message is over the limit (RFC 5321 4.5.3.1.6)."""
    reply = Reply(554, "5.6.0", (f"Line longer than {max_line_bytes} bytes",))
    return Fault("line_too_long", reply)


def chunk_done(size_bytes: int) -> Reply:
    """A chunk was read, and it was not the last one (RFC 3030 2)."""
    return Reply(250, "2.0.0", (f"{size_bytes} bytes received",))


HELLO_FIRST: Final = Fault("sequence", Reply(503, "5.5.1", ("Send EHLO first",)))
MAIL_FIRST: Final = Fault("sequence", Reply(503, "5.5.1", ("Send MAIL first",)))
NOT_IN_TRANSACTION: Final = Fault(
    "sequence", Reply(503, "5.5.1", ("Not within a mail transaction",))
)
NESTED_MAIL: Final = Fault("sequence", Reply(503, "5.5.1", ("Sender already given",)))
# RFC 5321 3.3: DATA (and BDAT, likewise) after MAIL when no RCPT was accepted.
NO_VALID_RECIPIENTS: Final = Fault("sequence", Reply(554, "5.5.1", ("No valid recipients",)))
CONTENT_COMES_BY_BDAT: Final = Fault(
    "sequence", Reply(503, "5.5.1", ("The message is coming by BDAT",))
)
CHUNK_WAS_REFUSED: Final = Fault(
    "sequence", Reply(503, "5.5.1", ("A chunk of this message was refused, send RSET",))
)
