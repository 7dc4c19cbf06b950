"""Commands and bodies as they go out."""

from __future__ import annotations

import pytest

from relay.model import Address, Envelope, Recipient, Sender
from relay.smtp.client_commands import (
    BLOCK_BYTES,
    command,
    dot_stuffed,
    in_blocks,
    is_ascii,
    lacking,
    mail_command,
    rcpt_command,
    xclient_command,
    xforward_command,
)
from relay.smtp.extensions import Extensions

NONE = Extensions()
ALL = Extensions(size_bytes=0, eightbitmime=True, smtputf8=True, dsn=True)
ANN = Address("ann", "example.org")
BOB = Address("bob", "example.net")
JOERG = Address("jörg", "example.org")


@pytest.mark.parametrize(
    ("sender", "extensions", "is_8bit", "line"),
    [
        (Sender(ANN), NONE, False, "MAIL FROM:<ann@example.org>"),
        (Sender(None), NONE, False, "MAIL FROM:<>"),
        (Sender(ANN), ALL, False, "MAIL FROM:<ann@example.org> SIZE=7"),
        (Sender(ANN), ALL, True, "MAIL FROM:<ann@example.org> SIZE=7 BODY=8BITMIME"),
        (Sender(ANN, body="8BITMIME"), ALL, False, "MAIL FROM:<ann@example.org> SIZE=7 BODY=8BITMIME"),
        (Sender(ANN, body="8BITMIME"), NONE, False, "MAIL FROM:<ann@example.org>"),
        (Sender(ANN, body="7BIT"), ALL, False, "MAIL FROM:<ann@example.org> SIZE=7"),
        (Sender(ANN, smtputf8=True), ALL, False, "MAIL FROM:<ann@example.org> SIZE=7 SMTPUTF8"),
        (Sender(ANN, smtputf8=True), NONE, False, "MAIL FROM:<ann@example.org>"),
        (Sender(ANN, ret="HDRS", envid="QQ+2B1"), ALL, False, "MAIL FROM:<ann@example.org> SIZE=7 RET=HDRS ENVID=QQ+2B1"),
        (Sender(ANN, ret="HDRS", envid="QQ+2B1"), NONE, False, "MAIL FROM:<ann@example.org>"),
        (Sender(JOERG, smtputf8=True), ALL, False, "MAIL FROM:<jörg@example.org> SIZE=7 SMTPUTF8"),
        (Sender(Address('"a b"', "[192.0.2.1]")), NONE, False, 'MAIL FROM:<"a b"@[192.0.2.1]>'),
    ],
)  # fmt: skip
def test_mail_says_what_the_peer_understands(
    sender: Sender, extensions: Extensions, is_8bit: bool, line: str
) -> None:
    made = mail_command(sender, extensions, size_bytes=7, is_8bit=is_8bit, is_utf8=sender.smtputf8)
    assert made == f"{line}\r\n".encode()


def test_an_unknown_size_is_not_declared() -> None:
    assert b"SIZE" not in mail_command(Sender(ANN), ALL, size_bytes=0, is_8bit=False, is_utf8=False)


@pytest.mark.parametrize(
    ("recipient", "extensions", "line"),
    [
        (Recipient(BOB), ALL, "RCPT TO:<bob@example.net>"),
        (Recipient(Address("postmaster", "")), ALL, "RCPT TO:<postmaster>"),
        (Recipient(BOB, "SUCCESS,DELAY", "rfc822;b@x"), ALL, "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@x"),
        (Recipient(BOB, "SUCCESS,DELAY", "rfc822;b@x"), NONE, "RCPT TO:<bob@example.net>"),
    ],
)  # fmt: skip
def test_rcpt_says_what_the_peer_understands(
    recipient: Recipient, extensions: Extensions, line: str
) -> None:
    assert rcpt_command(recipient, extensions) == f"{line}\r\n".encode()


@pytest.mark.parametrize("text", ["MAIL FROM:<a@b>\r\nRCPT TO:<x@y>", "a\rb", "a\nb"])
def test_no_text_becomes_a_second_command(text: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        command(text)


@pytest.mark.parametrize(
    ("extensions", "sender", "recipient", "message", "answer"),
    [
        (NONE, Sender(ANN), BOB, b"S: x\r\n\r\nbody\r\n", ""),
        (NONE, Sender(ANN, body="8BITMIME", smtputf8=True), BOB, b"S: x\r\n\r\nbody\r\n", ""),
        (NONE, Sender(ANN), BOB, b"S: x\r\n\r\n\xe4\r\n", "554 5.6.3"),
        (ALL, Sender(ANN), BOB, b"S: x\r\n\r\n\xe4\r\n", ""),
        (NONE, Sender(JOERG), BOB, b"S: x\r\n\r\nbody\r\n", "553 5.6.7"),
        (NONE, Sender(ANN), JOERG, b"S: x\r\n\r\nbody\r\n", "553 5.6.7"),
        (NONE, Sender(None), JOERG, b"S: x\r\n\r\nbody\r\n", "553 5.6.7"),
        (ALL, Sender(JOERG, smtputf8=True), JOERG, "S: ä\r\n\r\nbody\r\n".encode(), ""),
        (NONE, Sender(ANN, smtputf8=True), BOB, "S: ä\r\n\r\nbody\r\n".encode(), "550 5.6.9"),
        # only the body is 8-bit: SMTPUTF8 was declared without need
        (Extensions(eightbitmime=True), Sender(ANN, smtputf8=True), BOB, "S: x\r\n\r\nä\r\n".encode(), ""),
    ],
)  # fmt: skip
def test_says_what_the_peer_cannot_carry(
    extensions: Extensions, sender: Sender, recipient: Address, message: bytes, answer: str
) -> None:
    envelope = Envelope(sender, [Recipient(recipient)])
    chunks = [message[:3], message[3:]]
    refusal = lacking(extensions, envelope, chunks, is_8bit=not message.isascii())
    assert str(refusal or "")[:9] == answer


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("S: x\r\n\r\nä".encode() * BLOCK_BYTES, ""),
        (b"S: " + b"x" * BLOCK_BYTES + "\r\n\r\nä".encode(), ""),
        (b"S: " + b"x" * BLOCK_BYTES + "ä\r\n\r\n".encode(), "550 5.6.9"),
        ("S: x\r\nä".encode(), "550 5.6.9"),
    ],
    ids=["long body", "long header", "long header in UTF-8", "no body"],
)
def test_the_end_of_the_header_is_found_wherever_chunks_end(message: bytes, answer: str) -> None:
    extensions, envelope = Extensions(eightbitmime=True), Envelope(Sender(ANN, smtputf8=True))
    end = message.find(b"\r\n\r\n")
    for cut in range(max(end - 2, 0), end + 6):
        chunks = [message[:cut], memoryview(message)[cut:]]
        refusal = lacking(extensions, envelope, chunks, is_8bit=True)
        assert str(refusal or "")[:9] == answer


ATTRIBUTES = {
    "NAME": "client.example",
    "ADDR": "192.0.2.7",
    "PORT": "40007",
    "PROTO": "ESMTPS",
    "HELO": "we are",
    "LOGIN": "acme+x=1",
    "IDENT": "R1",
}


def test_xclient_says_all_that_is_offered_and_what_is_unknown() -> None:
    offered = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR"})
    assert xclient_command(offered, ATTRIBUTES) == (
        b"XCLIENT NAME=client.example ADDR=192.0.2.7 PORT=40007 PROTO=ESMTP HELO=we+20are LOGIN=acme+2Bx+3D1\r\n"
    )
    assert xclient_command(offered, {"ADDR": "2001:db8::1", "PROTO": "SMTP"}) == (
        b"XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE] PROTO=SMTP HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]\r\n"
    )
    assert xclient_command(frozenset({"ADDR"}), ATTRIBUTES) == b"XCLIENT ADDR=192.0.2.7\r\n"


def test_xforward_says_all_that_is_offered() -> None:
    offered = frozenset({"NAME", "ADDR", "PROTO", "HELO", "IDENT", "SOURCE"})
    assert xforward_command(offered, ATTRIBUTES) == (
        b"XFORWARD NAME=client.example ADDR=192.0.2.7 PROTO=ESMTPS HELO=we+20are IDENT=R1 SOURCE=REMOTE\r\n"
    )


@pytest.mark.parametrize("value", ["x\r\nRCPT TO:<evil@x>", "ü", "a=b", "a+b", "\x00", "x" * 999])
def test_attributes_are_encoded_and_bounded(value: str) -> None:
    made = xclient_command(frozenset({"HELO"}), {"HELO": value})
    assert made.count(b"\r\n") == 1
    assert made.isascii()
    assert b" " not in made.removeprefix(b"XCLIENT ")
    assert len(made) < 300


def unstuffed(wire: bytes) -> bytes:
    """What a server makes of it (RFC 5321 4.5.2), the slow way."""
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end + 1 :] == [b""], "bytes behind the final dot"
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


BODIES = [
    b"",
    b"\r\n",
    b".",
    b"..",
    b".\r\n",
    b"\r\n.\r\n",
    b"\r\n.\r\n.\r\n..\r\n",
    b"a\r\n.b\r\n..c\r\nd.\r\n",
    b"no end",
    b"no end\r\n.",
    b"..\r\n..",
    b"\r\n\r\n\r\n",
]


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_dots_are_stuffed_wherever_the_body_is_cut(body: bytes) -> None:
    expected = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
    for first in range(len(body) + 1):
        for second in range(first, len(body) + 1):
            chunks = [body[:first], body[first:second], body[second:]]
            assert unstuffed(b"".join(dot_stuffed(chunks))) == expected
    single = [body[place : place + 1] for place in range(len(body))]
    assert unstuffed(b"".join(dot_stuffed(single))) == expected


def test_a_long_body_is_stuffed_across_its_blocks() -> None:
    for shift in range(4):
        body = b"x" * shift + b"\r\n." * BLOCK_BYTES
        assert unstuffed(b"".join(dot_stuffed([body]))) == body + b"\r\n"


def test_what_is_long_is_cut_and_nothing_else() -> None:
    chunks = [b"a", b"", b"b" * BLOCK_BYTES, b"c" * (2 * BLOCK_BYTES + 1)]
    blocks = list(in_blocks(chunks))
    assert blocks[:3] == chunks[:3]
    assert [len(block) for block in blocks[3:]] == [BLOCK_BYTES, BLOCK_BYTES, 1]


@pytest.mark.parametrize("last", [b"x", b"\xff"])
@pytest.mark.parametrize("size", [1, BLOCK_BYTES + 1, 3 * BLOCK_BYTES - 1])
def test_views_are_taken_as_the_bytes_that_they_are(size: int, last: bytes) -> None:
    body = b"\r\n.b." * (size // 6) + b"c" * (size % 6) + last
    view = memoryview(b"\xff" + body)[1:]
    assert is_ascii(view) is is_ascii(body) is last.isascii()
    assert list(in_blocks([view])) == list(in_blocks([body]))
    assert {type(block) for block in in_blocks([view])} == {bytes}
    assert list(dot_stuffed([view])) == list(dot_stuffed([body]))


def test_a_chunk_without_dots_is_not_copied() -> None:
    chunk = b"Subject: x\r\n\r\nbody\r\n" * 100
    assert next(dot_stuffed([chunk])) is chunk
