"""Command lines as values."""

from __future__ import annotations

import pytest

from relay.model import Address, Recipient, Sender
from relay.smtp.commands import (
    COMMANDS,
    UNIMPLEMENTED,
    Chunk,
    Command,
    is_foreign,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
    split_command,
)
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply

EVERYTHING = Extensions(size_bytes=0, eightbitmime=True, smtputf8=True, dsn=True)
A = Address("a", "example.org")


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"NOOP", b"NOOP", b""),
        (b"noop", b"NOOP", b""),
        (b"NoOp  \t ", b"NOOP", b""),
        (b"MAIL FROM:<a@b>  ", b"MAIL", b"FROM:<a@b>"),
        (b"EHLO  x", b"EHLO", b" x"),
        (b" NOOP", b"", b"NOOP"),
        (b"MAIL\tFROM:<a@b>", b"MAIL\tFROM:<A@B>", b""),
        (b"", b"", b""),
        (b"NOOP\xff", b"NOOP\xff", b""),
    ],
)
def test_a_line_is_split_at_its_first_blank(line: bytes, verb: bytes, argument: bytes) -> None:
    assert split_command(line) == (verb, argument)


def test_every_command_is_known_by_its_verb() -> None:
    assert COMMANDS[b"EHLO"] is Command.EHLO
    assert set(COMMANDS.values()) == set(Command)
    assert not UNIMPLEMENTED & COMMANDS.keys()


@pytest.mark.parametrize("verb", [b"GET", b"POST", b"CONNECT", b"PRI", b"SSH-2.0-OPENSSH_9.6"])
def test_foreign_verbs(verb: bytes) -> None:
    assert is_foreign(verb)
    assert verb not in COMMANDS


def test_our_own_verbs_are_not_foreign() -> None:
    assert not any(is_foreign(verb) for verb in (*COMMANDS, *UNIMPLEMENTED, b"", b"BOGUS"))


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
