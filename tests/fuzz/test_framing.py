"""The framing of DATA and BDAT against a reading of the RFC that a reviewer can check by eye."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.framing import Content, DataReader, InputBuffer, LineFault
from tests.kit.fuzz import fuzz_settings, mutated, split_at

MAX_LINE_BYTES = 12
MAX_BYTES = 60
SEEDS = [
    b"\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"..\r\n",
    b"line\r\n",
    b"x" * 12 + b"\r\n",
    b"\0",
    b"\r",
    b"\n",
]
ALPHABET = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x", b"\0"]), max_size=40
)
INPUT = st.one_of(ALPHABET.map(b"".join), st.lists(mutated(SEEDS), max_size=6).map(b"".join))
CUTS = st.lists(st.integers(min_value=0, max_value=2**16), max_size=8)
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def content() -> Content:
    return Content(MAX_BYTES, MAX_LINE_BYTES)


def findings(found: Content) -> tuple[bool, ...]:
    return (found.has_bare_newline, found.has_nul, found.has_long_line, found.is_too_large)


def expected_findings(body: bytes) -> tuple[bool, ...]:
    lines = body.split(b"\r\n")
    return (
        BARE.search(body) is not None,
        b"\0" in body,
        any(len(line) > MAX_LINE_BYTES for line in lines),
        len(body) > MAX_BYTES,
    )


def read(data: bytes, pieces: list[bytes]) -> tuple[int, Content]:
    """Where in `data` the message ended (-1: nowhere), and the content."""
    found = content()
    reader = DataReader(found)
    place = 0
    for piece in pieces:
        end = reader.feed(piece)
        if end >= 0:
            return place + end, found
        place += len(piece)
    return -1, found


@fuzz_settings()
@given(data=INPUT, cuts=CUTS)
def test_data_is_read_as_the_rfc_says(data: bytes, cuts: list[int]) -> None:
    end, found = read(data, split_at(data, cuts))
    # RFC 5321 4.1.1.4: "<CRLF>.<CRLF>", the first of them may be the DATA command's.
    place = (b"\r\n" + data).find(b"\r\n.\r\n")
    assert end == (place + 3 if place >= 0 else -1)
    if end < 0:
        return
    stuffed = data[: end - 3]
    if BARE.search(stuffed) is not None:
        assert found.has_bare_newline
        return
    # RFC 5321 4.5.2: the dot at the start of a line goes.
    lines = stuffed.split(b"\r\n")
    body = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert findings(found) == expected_findings(body)
    if not any(findings(found)):
        assert found.take_body() == body


@fuzz_settings()
@given(data=INPUT, cuts=CUTS)
def test_a_bare_newline_is_seen_before_the_end(data: bytes, cuts: list[int]) -> None:
    bare = BARE.search(data)
    end, found = read(data, split_at(data, cuts))
    if end >= 0:
        return
    if found.has_bare_newline:
        assert bare is not None
    elif bare is not None:
        # It may hide behind what could begin CRLF.CRLF, and no longer.
        assert bare.end() + len("\r\n.\r") >= len(data)


@fuzz_settings()
@given(data=INPUT, cuts=CUTS)
def test_counted_content_is_kept_as_it_is(data: bytes, cuts: list[int]) -> None:
    found = content()
    for piece in split_at(data, cuts):
        found.add(piece)
    found.end()
    assert found.has_bare_newline == (BARE.search(data) is not None)
    if found.has_bare_newline:
        return
    assert findings(found) == expected_findings(data)
    if not any(findings(found)):
        assert found.take_body() == data


@fuzz_settings()
@given(data=INPUT, cuts=CUTS)
def test_command_lines(data: bytes, cuts: list[int]) -> None:
    def lines(pieces: list[bytes]) -> list[bytes | LineFault]:
        source, found = InputBuffer(), []
        for piece in pieces:
            source.append(piece)
            while (line := source.next_line(MAX_LINE_BYTES)) is not None:
                found.append(line)
                if line is LineFault.BARE_NEWLINE:
                    return found
            assert len(source) <= MAX_LINE_BYTES + 1
        return found

    expected: list[bytes | LineFault] = []
    bare = BARE.search(data)
    sound = data if bare is None else data[: bare.start()]
    *whole, _ = sound.split(b"\r\n")
    for line in whole:
        expected.append(line if len(line) <= MAX_LINE_BYTES else LineFault.TOO_LONG)
    if bare is not None and bare.end() < len(data) + (data[-1:] == b"\n"):
        expected.append(LineFault.BARE_NEWLINE)
    for pieces in ([data], split_at(data, cuts), [data[i : i + 1] for i in range(len(data))]):
        assert lines([piece for piece in pieces if piece]) == expected
