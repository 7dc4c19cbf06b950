"""Replies are read strictly: what is not a reply beyond doubt is no reply at all."""

from __future__ import annotations

import pytest

from relay.errors import Unavailable
from relay.smtp.replies import Reply
from relay.smtp.reply_parser import MAX_LINE_BYTES, MAX_LINES, ReplyParser


def parse(*pieces: bytes) -> list[Reply]:
    parser = ReplyParser()
    replies = []
    for piece in pieces:
        parser.receive(piece)
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


GOOD = [
    (b"250 Ok\r\n", Reply(250, "", ("Ok",))),
    (b"250\r\n", Reply(250, "", ("",))),
    (b"250 \r\n", Reply(250, "", ("",))),
    (b"354 Go ahead\r\n", Reply(354, "", ("Go ahead",))),
    (b"571 Blocked\r\n", Reply(571, "", ("Blocked",))),
    (b"250-a\r\n250-b\r\n250 c\r\n", Reply(250, "", ("a", "b", "c"))),
    (b"250-a\r\n250\r\n", Reply(250, "", ("a", ""))),
    (b"250-\r\n250-\r\n250 c\r\n", Reply(250, "", ("", "", "c"))),
    (b"550 5.1.1 No such user\r\n", Reply(550, "5.1.1", ("No such user",))),
    (b"550 5.1.1\r\n", Reply(550, "5.1.1", ("",))),
    (b"550-5.7.1 One\r\n550 5.7.1 Two\r\n", Reply(550, "5.7.1", ("One", "Two"))),
    (b"550-5.7.1 One\r\n550 Two\r\n", Reply(550, "5.7.1", ("One", "Two"))),
    (b"550-5.7.1 One\r\n550 5.7.2 Two\r\n", Reply(550, "5.7.1", ("One", "5.7.2 Two"))),
    (b"550-5.7.1\r\n550 5.7.10 Two\r\n", Reply(550, "5.7.1", ("", "5.7.10 Two"))),
    # an enhanced code of another class than the code says is text
    (b"550 4.1.1 Odd\r\n", Reply(550, "", ("4.1.1 Odd",))),
    (b"250 5.1.1 Odd\r\n", Reply(250, "", ("5.1.1 Odd",))),
    (b"354 3.0.0 Odd\r\n", Reply(354, "", ("3.0.0 Odd",))),
    (b"550 5.1.1234 Odd\r\n", Reply(550, "", ("5.1.1234 Odd",))),
    (b"550 5.1.1: Odd\r\n", Reply(550, "", ("5.1.1: Odd",))),
    # text may be anything on its line; it is made safe where it is written
    ("250 ünï\r\n".encode(), Reply(250, "", ("ünï",))),
    (b"250 \xff\x00\r\n", Reply(250, "", ("\ufffd\x00",))),
    (b"250 250 ok\r\n", Reply(250, "", ("250 ok",))),
]


@pytest.mark.parametrize(("wire", "reply"), GOOD, ids=lambda value: repr(value)[:40])
def test_reads_a_reply_whole_and_byte_by_byte(wire: bytes, reply: Reply) -> None:
    assert parse(wire) == [reply]
    assert parse(*(wire[place : place + 1] for place in range(len(wire)))) == [reply]


BAD = [
    b"550-no\r\n250 yes\r\n",  # must never read as 250
    b"250-a\r\n250-b\r\n251 c\r\n",
    b"2500 x\r\n",
    b"25 x\r\n",
    b"150 x\r\n",
    b"650 x\r\n",
    b"050 x\r\n",
    b"250x\r\n",
    b"250\tx\r\n",
    b" 250 x\r\n",
    b"-250 x\r\n",
    b"ok\r\n",
    b"\r\n",
    b"2\xb250 x\r\n",
    "２５０ x\r\n".encode(),  # digits, but not ASCII
    b"250 bare\n",
    b"250-a\n250 b\r\n",
    b"250 a\rb\r\n",
    b"250 a\r\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
]


@pytest.mark.parametrize("wire", BAD, ids=repr)
def test_refuses_what_is_no_reply(wire: bytes) -> None:
    with pytest.raises(Unavailable):
        parse(wire)
    with pytest.raises(Unavailable):
        parse(*(wire[place : place + 1] for place in range(len(wire))))


def test_several_replies_of_one_segment_come_one_by_one() -> None:
    wire = b"250 2.1.0 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n25"
    assert [reply.code for reply in parse(wire)] == [250, 550, 354]


def test_replies_before_the_bad_one_are_given() -> None:
    parser = ReplyParser()
    parser.receive(b"250 Ok\r\nnonsense\r\n")
    assert parser.next_reply() == Reply(250, "", ("Ok",))
    with pytest.raises(Unavailable):
        parser.next_reply()


@pytest.mark.parametrize(
    ("wire", "residue"),
    [
        (b"", False),
        (b"250 Ok\r\n", False),
        (b"250 Ok\r\n2", True),
        (b"250-Ok\r\n", True),
        (b"250 Ok\r\n250 Ok\r\n", True),
    ],
)
def test_knows_of_bytes_behind_a_reply(wire: bytes, residue: bool) -> None:
    parser = ReplyParser()
    parser.receive(wire)
    parser.next_reply()
    assert parser.has_residue is residue


def test_a_line_may_be_long_but_not_endless() -> None:
    text = b"x" * (MAX_LINE_BYTES - len(b"250 \r"))
    assert parse(b"250 " + text + b"\r\n")[0].lines == (text.decode(),)
    with pytest.raises(Unavailable):
        parse(b"250 " + text + b"x\r\n")
    with pytest.raises(Unavailable):
        parse(b"2" * (MAX_LINE_BYTES + 1))  # no line end at all


def test_a_reply_may_have_many_lines_but_not_endlessly_many() -> None:
    middle = b"250-x\r\n" * (MAX_LINES - 1)
    assert len(parse(middle + b"250 x\r\n")[0].lines) == MAX_LINES
    with pytest.raises(Unavailable):
        parse(middle + b"250-x\r\n")
