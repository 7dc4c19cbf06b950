"""The header's end, its fields and its authors, also where messages are not as they should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.headers import MAX_HEADER_BYTES, MAX_HEADER_LINES, split

MESSAGE = (
    b"Received: from a by b;\r\n\tSat, 21 Nov 2026 04:00:00 +0000\r\n"
    b"received : from c by d\r\n"
    b"From: Alice <alice@example.org>\r\n"
    b"Message-ID:\r\n <1@example.org>\r\n"
    b"Subject: \r\n"
    b"\r\n"
    b"From: not a header\r\n"
)


def names(message: bytes) -> list[bytes]:
    return [field.name for field in split(message).fields]


def test_the_header_ends_at_the_empty_line() -> None:
    block = split(MESSAGE)
    assert MESSAGE[block.end :] == b"\r\nFrom: not a header\r\n"
    assert names(MESSAGE) == [b"received", b"received", b"from", b"message-id", b"subject"]
    assert block.is_separated


def test_fields_cover_the_header_without_gaps() -> None:
    block = split(MESSAGE)
    text = b"".join(MESSAGE[field.start : field.stop] for field in block.fields)
    assert text == MESSAGE[: block.end]


def test_what_is_asked_of_a_header() -> None:
    block = split(MESSAGE)
    assert block.received_count == 2
    assert block.message_id == "<1@example.org>"
    assert [str(author) for author in block.authors or ()] == ["alice@example.org"]


@pytest.mark.parametrize(
    ("message", "end", "is_separated"),
    [
        (b"", 0, True),
        (b"\r\n", 0, True),
        (b"\r\nFrom: body\r\n", 0, True),
        (b"Just text\r\nFrom: x@y\r\n", 0, False),
        (b" From: folded into nothing\r\n", 0, False),
        (b": no name\r\n", 0, False),
        (b".\r\n", 0, False),
        (b"A: b", 4, True),
        (b"A: b\r\n", 6, True),
        (b"A: b\r\n\r\n", 6, True),
    ],
)
def test_messages_without_a_proper_header(message: bytes, end: int, is_separated: bool) -> None:
    block = split(message)
    assert block.end == end
    assert block.is_separated is is_separated


def test_a_stray_line_does_not_hide_the_fields_behind_it() -> None:
    message = b"From: a@example.org\r\nstray\r\nFrom: b@example.org\r\n\r\nbody\r\n"
    assert names(message) == [b"from", b"", b"from"]
    assert split(message).authors is None


def test_names_are_read_as_the_most_lenient_reader_would() -> None:
    assert names(b"A: b\r\nFROM \t: a@b\r\n\x0bSender\x0c: c@d\r\n\r\n") == [
        b"a",
        b"from",
        b"sender",
    ]


@pytest.mark.parametrize(
    "spelling",
    [
        b"From", b"fROM", b"From ", b"From\t \t", b"From\x0b", b"From\x1c", b"From\x7f", b"\x1fFrom",
        b"From\xa0", b"From\xc2\xa0", b"From\xe2\x80\x8b", b"\xef\xbb\xbfFrom", b"Fr\x01om",
        b"From\r\n ", b"From\r\n\t \r\n ", b"From\r\n \xa0",
    ],
)  # fmt: skip
def test_a_name_that_some_reader_takes_for_from_is_from(spelling: bytes) -> None:
    """Trimmed by another idea of blanks (JavaScript, Python), or unfolded before the colon is looked for."""
    message = b"A: b\r\n%b: a@example.org\r\nB: c\r\n\r\n" % spelling
    assert names(message) == [b"a", b"from", b"b"]
    assert [str(each) for each in split(message).authors or ()] == ["a@example.org"]
    taken = split(message).without({b"from"})
    assert b"".join(taken) == b"A: b\r\nB: c\r\n\r\n"


def test_the_first_colon_ends_a_name() -> None:
    assert names(b"A: b\r\n: x\r\n From: c@d\r\n") == [b"a", b""]
    assert names(b"A: b\r\nstray\r\n more\r\nFrom: c@d\r\n") == [b"a", b"", b"from"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"Subject: none\r\n", "no From"),
        (b"From: a@example.org\r\nFrom: a@example.org\r\n", "two From fields"),
        (b"From: a@example.org\r\nfrom : b@example.org\r\n", "two, one in disguise"),
        (b"From: a@example.org\r\nFrom\xa0: b@example.org\r\n", "two, one in disguise"),
        (b"From: a@example.org\r\nFrom\r\n : b@example.org\r\n", "two, one in disguise"),
        (b"From: nobody at all\r\n", "unreadable"),
        (b"From:\r\n", "empty"),
        (b"From: undisclosed:;\r\n", "nobody in the group"),
    ],
)
def test_authors_are_unknown_unless_one_from_field_says_it(header: bytes, reason: str) -> None:
    assert split(header + b"\r\nbody\r\n").authors is None, reason


def test_a_folded_from_is_unfolded() -> None:
    block = split(b'From: "A\r\n B"\r\n\t<a@example.org>,\r\n b@example.org\r\n\r\n')
    assert [str(author) for author in block.authors or ()] == ["a@example.org", "b@example.org"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [(b"X: y", ""), (b"Message-Id: <a@b>", "<a@b>"), (b"Message-ID: <\xff>", "<?>")],
)
def test_the_message_id_is_text_or_nothing(field: bytes, expected: str) -> None:
    assert split(field + b"\r\n\r\n").message_id == expected


def test_a_header_beyond_all_measure_is_marked() -> None:
    long = b"From: a@example.org\r\n" + b"X: y\r\n" * (MAX_HEADER_BYTES // 6 + 1) + b"\r\n"
    assert split(long).is_too_long
    assert split(long).authors is None
    fits = b"From: a@example.org\r\nX: " + b"y" * (MAX_HEADER_BYTES - 30) + b"\r\n\r\n" + b"z" * 99
    assert not split(fits).is_too_long


@pytest.mark.parametrize("line", [b"X: y\r\n", b" y\r\n"])
def test_a_header_of_very_many_lines_is_not_read(line: bytes) -> None:
    first = b"From: a@example.org\r\n"
    assert not split(first + line * (MAX_HEADER_LINES - 1) + b"\r\n" + line * 9).is_too_long
    block = split(first + line * MAX_HEADER_LINES + b"\r\n")
    assert block.is_too_long
    assert block.fields == []
    assert len(split(block.message, is_limited=False).named(b"from")) == 1


def test_without_takes_whole_fields_out() -> None:
    block = split(MESSAGE)
    left = b"".join(block.without({b"received", b"message-id"}))
    assert left == b"From: Alice <alice@example.org>\r\nSubject: \r\n\r\nFrom: not a header\r\n"


def test_of_a_large_message_without_copies_no_body() -> None:
    large = b"From: a@example.org\r\nReceived: x\r\n\r\n" + b"x\r\n" * 100_000
    head, rest = split(large).without({b"received"})
    assert head + rest == b"From: a@example.org\r\n\r\n" + b"x\r\n" * 100_000
    assert isinstance(rest, memoryview)
    assert rest.obj is large


def test_without_copies_nothing_if_nothing_is_there() -> None:
    assert split(MESSAGE).without({b"x-other"})[0] is MESSAGE


@given(st.lists(st.sampled_from([b"From: a@b", b" c", b"\r\n", b"x", b":", b"\tFrom:", b"\xff"])))
def test_whatever_comes_the_pieces_are_the_message(parts: list[bytes]) -> None:
    message = b"".join(parts)
    block = split(message)
    assert b"".join(block.without({b"none"})) == message
    assert 0 <= block.end <= len(message)
    covered = b"".join(message[field.start : field.stop] for field in block.fields)
    assert covered == message[: block.end]
    assert b"from" not in {field.name for field in split(b"".join(block.without({b"from"}))).fields}
