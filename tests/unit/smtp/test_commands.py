"""Command lines as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.model import Address, Recipient, Sender
from relay.smtp import server_replies as replies
from relay.smtp.commands import (
    Chunk,
    Command,
    next_command,
    parse_bdat,
    parse_command,
    parse_hello,
    parse_mail,
    parse_rcpt,
)
from relay.smtp.extensions import Extensions
from relay.smtp.framing import InputBuffer
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from relay.smtp.server_replies import Fault

EVERYTHING = Extensions(size_bytes=0, eightbitmime=True, smtputf8=True, dsn=True)
A = Address("a", "example.org")


@pytest.mark.parametrize(
    ("line", "command", "argument"),
    [
        (b"NOOP", Command.NOOP, b""),
        (b"noop", Command.NOOP, b""),
        (b"NoOp  \t ", Command.NOOP, b""),
        (b"MAIL FROM:<a@b>  ", Command.MAIL, b"FROM:<a@b>"),
        (b"EHLO  x", Command.EHLO, b" x"),
    ],
)
def test_a_line_is_split_at_its_first_blank(line: bytes, command: Command, argument: bytes) -> None:
    assert parse_command(line) == (command, argument)


@pytest.mark.parametrize("command", list(Command))
def test_every_command_is_known_by_its_verb(command: Command) -> None:
    assert parse_command(command.value.encode()) == (command, b"")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", replies.UNKNOWN_COMMAND),
        (b" NOOP", replies.UNKNOWN_COMMAND),
        (b"NOOP\xff", replies.UNKNOWN_COMMAND),
        (b"MAIL\tFROM:<a@b>", replies.UNKNOWN_COMMAND),
        (b"NOOPS", replies.UNKNOWN_COMMAND),
        (b"auth PLAIN", replies.NOT_IMPLEMENTED),
        (b"XCLIENT ADDR=192.0.2.1", replies.NOT_IMPLEMENTED),
        (b"NOOP \0", replies.NUL_IN_COMMAND),
        (b"get / HTTP/1.1", replies.FOREIGN_PROTOCOL),
        (b"CONNECT mx.example:25 HTTP/1.1", replies.FOREIGN_PROTOCOL),
        (b"PRI * HTTP/2.0", replies.FOREIGN_PROTOCOL),
        (b"SSH-2.0-OpenSSH_9.6", replies.FOREIGN_PROTOCOL),
    ],
)
def test_a_line_that_is_no_command(line: bytes, fault: Fault) -> None:
    assert parse_command(line) == fault


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"NOOP", None),
        (b"NOOP\r\n", (Command.NOOP, b"")),
        (b"\x16", replies.FOREIGN_PROTOCOL),
        (b"NOOP\n", replies.BARE_NEWLINE),
        (b"NOOP 678901\r\n", replies.COMMAND_TOO_LONG),
    ],
)
def test_the_next_command(received: bytes, expected: object) -> None:
    source = InputBuffer()
    source.append(received)
    assert next_command(source, 10) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"0", Chunk(0, is_last=False)),
        (b"86 LAST", Chunk(86, is_last=True)),
        (b"86  last", Chunk(86, is_last=True)),
        (b"99999999999999999999", Chunk(99999999999999999999, is_last=False)),
        (b"999999999999999999999", None),
        (b"", None),
        (b"LAST", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1_0", None),
        ("١".encode(), None),
        (b" 1", None),
        (b"1 LAST x", None),
        (b"1LAST", None),
        (b"1 FIRST", None),
    ],
)
def test_bdat(argument: bytes, expected: Chunk | None) -> None:
    assert parse_bdat(argument) == expected


@pytest.mark.parametrize(
    ("argument", "name", "is_valid"),
    [
        (b"client.example", "client.example", True),
        (b" client.example", "client.example", True),
        (b"[IPv6:::1]", "[IPv6:::1]", True),
        (b"", "", False),
        (b"two words", "two words", False),
        (b"a\x1bb\x7f", "a?b?", False),
        ("bücher.example".encode(), "bücher.example", False),
        (b"\xff", "\ufffd", False),
        ("a\u2028b".encode(), "a?b", False),
    ],
)
def test_hello(argument: bytes, name: str, is_valid: bool) -> None:
    assert parse_hello(argument) == (name, is_valid)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<a@example.org>", Sender(A)),
        ("from: <a@example.org>", Sender(A)),
        ("FROM:<>", Sender(None)),
        ("FROM:<> SIZE=7", Sender(None, size_bytes=7)),
        ("FROM:<a@example.org> SIZE=0007", Sender(A, size_bytes=7)),
        ("FROM:<a@example.org> body=8bitmime", Sender(A, body="8BITMIME")),
        ("FROM:<a@example.org> BODY=7BIT SMTPUTF8", Sender(A, body="7BIT", smtputf8=True)),
        ("FROM:<a@example.org> RET=hdrs ENVID=x+2B", Sender(A, ret="hdrs", envid="x+2B")),
        ("FROM:<ü@ö.example> SMTPUTF8", Sender(Address("ü", "ö.example"), smtputf8=True)),
    ],
)
def test_mail(argument: str, expected: Sender) -> None:
    assert parse_mail(argument.encode(), EVERYTHING) == expected


@pytest.mark.parametrize(
    ("argument", "code", "enhanced"),
    [
        (b"", 501, "5.1.7"),
        (b"FROM", 501, "5.1.7"),
        (b"FROM <a@example.org>", 501, "5.1.7"),
        (b"FROM :<a@example.org>", 501, "5.1.7"),
        (b"FROM:  <a@example.org>", 501, "5.1.7"),
        (b"TO:<a@example.org>", 501, "5.1.7"),
        (b"FROM:a@example.org", 501, "5.1.7"),
        (b"FROM:<postmaster>", 501, "5.1.7"),
        (b"FROM:<\xff@example.org> SMTPUTF8", 501, "5.1.7"),
        (b"FROM:<a@example.org>SIZE=1", 501, "5.5.4"),
        (b"FROM:<a@example.org> SIZE=-1", 501, "5.5.4"),
        (b"FROM:<a@example.org> SIZE=1 SIZE=1", 501, "5.5.4"),
        (b"FROM:<a@example.org> SMTPUTF8=", 501, "5.5.4"),
        (b"FROM:<a@example.org> FOO=1", 555, "5.5.4"),
        (b"FROM:<\xc3\xbc@example.org>", 553, "5.6.7"),
        (b"FROM:<\xc3\xbc@example.org> SIZE=1", 553, "5.6.7"),
        (b"FROM:<a@example.org> ENVID=\xc3\xbc SMTPUTF8", 501, "5.5.4"),
    ],
)
def test_mail_refused(argument: bytes, code: int, enhanced: str) -> None:
    found = parse_mail(argument, EVERYTHING)
    assert isinstance(found, Reply)
    assert (found.code, found.enhanced) == (code, enhanced)


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=x"])
def test_a_parameter_of_mail_needs_its_extension(parameter: str) -> None:
    argument = f"FROM:<a@example.org> {parameter}".encode()
    assert isinstance(parse_mail(argument, EVERYTHING), Sender)
    found = parse_mail(argument, Extensions())
    assert isinstance(found, Reply)
    assert found.code == 555


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<a@example.org>", Recipient(A)),
        ("to: <a@example.org>", Recipient(A)),
        ("TO:<Postmaster>", Recipient(Address("Postmaster", ""))),
        ("TO:<@x,@y:a@example.org>", Recipient(A)),
        (
            "TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y",
            Recipient(A, "SUCCESS,DELAY", "rfc822;x@y"),
        ),
        ("TO:<postmaster> NOTIFY=NEVER", Recipient(Address("postmaster", ""), "NEVER")),
    ],
)
def test_rcpt(argument: str, expected: Recipient) -> None:
    assert parse_rcpt(argument.encode(), EVERYTHING, smtputf8=False) == expected


@pytest.mark.parametrize(
    ("argument", "code", "enhanced"),
    [
        ("", 501, "5.1.3"),
        ("TO:", 501, "5.1.3"),
        ("TO:<>", 501, "5.1.3"),
        ("TO:<a>", 501, "5.1.3"),
        ("TO:a@example.org", 501, "5.1.3"),
        ("TO:<postmaster", 501, "5.1.3"),
        ("TO:<a@example.org> x=", 501, "5.5.4"),
        ("TO:<a@example.org> NOTIFY=", 501, "5.5.4"),
        ("TO:<a@example.org> NOTIFY", 501, "5.5.4"),
        ("TO:<a@example.org> SIZE=1", 555, "5.5.4"),
        ("TO:<ü@example.org>", 553, "5.6.7"),
        ("TO:<a@example.org> ORCPT=utf-8;ü@x", 553, "5.6.7"),
    ],
)
def test_rcpt_refused(argument: str, code: int, enhanced: str) -> None:
    found = parse_rcpt(argument.encode(), EVERYTHING, smtputf8=False)
    assert isinstance(found, Reply)
    assert (found.code, found.enhanced) == (code, enhanced)


def test_rcpt_beyond_ascii_with_smtputf8() -> None:
    argument = "TO:<ü@example.org> ORCPT=utf-8;ü@example.org".encode()
    expected = Recipient(Address("ü", "example.org"), "", "utf-8;ü@example.org")
    assert parse_rcpt(argument, EVERYTHING, smtputf8=True) == expected


def test_dsn_parameters_of_rcpt_need_dsn() -> None:
    found = parse_rcpt(b"TO:<a@example.org> NOTIFY=NEVER", Extensions(), smtputf8=False)
    assert isinstance(found, Reply)
    assert found.code == 555
