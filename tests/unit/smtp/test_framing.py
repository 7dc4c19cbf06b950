"""Framing: each case whole, byte by byte, and cut in two at every place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from relay.smtp.framing import Content, DataReader, InputBuffer, LineFault

if TYPE_CHECKING:
    from collections.abc import Iterator


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def read(pieces: list[bytes], content: Content) -> int:
    reader, place = DataReader(content), 0
    for piece in pieces:
        end = reader.feed(piece)
        if end >= 0:
            return place + end
        place += len(piece)
    return -1


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n..\r\n...\r\n.\r\n", b"a\r\n.\r\n..\r\n", b""),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n", b""),
        (b"a.\r\n.\r\n", b"a.\r\n", b""),
        (b"\r\n\r\n..\r\n\r\n.\r\n", b"\r\n\r\n.\r\n\r\n", b""),
        (b"\xff\xfe\r\n.\r\n", b"\xff\xfe\r\n", b""),
    ],
)
def test_the_end_is_found_and_transparency_undone(data: bytes, body: bytes, rest: bytes) -> None:
    for pieces in cuts(data):
        content = Content(0, 998)
        assert read(pieces, content) == len(data) - len(rest), pieces
        assert not content.has_bare_newline, pieces
        assert content.kept_bytes == content.size_bytes == len(body)
        assert content.take_body() == body, pieces
        assert content.kept_bytes == 0


@pytest.mark.parametrize(
    "data",
    [
        b"a\n.\n",
        b"a\n.\r\n",
        b"a\r.\r",
        b"a\r.\r\n",
        b"a\r\n.\n",
        b"a\r\n.\rb",
        b"a\r\r\n.\r\n",
        b"a\r\n\r.\r\n",
        b"a\n\r.\r\n",
        b"a\n\n.\r\n",
        b"a\r\n\n.\r\n",
        b"\n.\r\n",
        b"\r.\r\n.\r\n",
        b"\r\r\n.\r\n",
        b".\n",
        b".\rb",
        b"..\r\n.\r\r\n",
    ],
)
def test_nothing_else_is_an_end(data: bytes) -> None:
    for pieces in cuts(data + b"MAIL FROM:<a@b>\r\n"):
        content = Content(0, 998)
        read(pieces, content)
        assert content.has_bare_newline, pieces
        assert content.kept_bytes == 0


def test_a_message_that_has_not_ended() -> None:
    for pieces in cuts(b"a\r\n.\r"):
        content = Content(0, 998)
        assert read(pieces, content) == -1
        assert not content.has_bare_newline


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"1234567890\r\n", False),
        (b"12345678901\r\n", True),
        (b"..234567890\r\n", False),  # RFC 5321 4.5.3.1.6: the doubled dot does not count
        (b"..2345678901\r\n", True),
        (b"\r\n" * 20, False),
        (b"1234567890\r\n" * 3 + b"12345678901\r\n" + b"x\r\n", True),
        (b"x" * 100 + b"\r\n", True),
        (b"12345\r\n1234567890\r\n123\r\n", False),
    ],
)
def test_long_lines(lines: bytes, expected: bool) -> None:
    for pieces in cuts(lines + b".\r\n"):
        content = Content(0, 10)
        assert read(pieces, content) >= 0
        assert content.has_long_line is expected, pieces


@pytest.mark.parametrize(("body", "expected"), [(b"12345678\r\n", False), (b"123456789\r\n", True)])
def test_the_size_limit(body: bytes, expected: bool) -> None:
    for pieces in cuts(body + b".\r\n"):
        content = Content(10, 998)
        assert read(pieces, content) >= 0
        assert content.is_too_large is expected
        assert content.kept_bytes == (0 if expected else len(body))


def test_nul_is_noted_and_nothing_kept() -> None:
    for pieces in cuts(b"a\r\nb\0\r\nc\r\n.\r\n"):
        content = Content(0, 998)
        assert read(pieces, content) >= 0
        assert content.has_nul
        assert content.kept_bytes == 0


def test_an_announced_excess_keeps_nothing_from_the_start() -> None:
    content = Content(10, 998)
    content.announce(6)
    content.add(b"12345")
    assert content.kept_bytes == 5
    content.announce(6)
    assert content.is_too_large
    assert content.kept_bytes == 0


@pytest.mark.parametrize(("tail", "bare", "long"), [(b"\r", True, False), (b"x" * 11, False, True)])
def test_what_only_the_end_of_counted_content_shows(tail: bytes, bare: bool, long: bool) -> None:
    for pieces in cuts(b"a\r\n" + tail):
        content = Content(0, 10)
        for piece in pieces:
            content.add(piece)
        assert not content.has_bare_newline
        content.end()
        assert (content.has_bare_newline, content.has_long_line) == (bare, long)


def test_small_pieces_and_large_ones_stay_in_order() -> None:
    content, body = Content(0, 10_000_000), b""
    for number in range(300):
        piece = bytes([65 + number % 26]) * (4096 if number % 70 == 0 else 4 * number)
        content.add(piece)
        body += piece
    assert content.take_body() == body


def test_a_single_piece_is_handed_over_without_a_copy() -> None:
    content, piece = Content(0, 998), (b"x" * 98 + b"\r\n") * 100
    content.add(piece)
    assert content.take_body() is piece


@pytest.mark.parametrize("line", [b"x" * 76 + b"\r\n", b"..\r\n", b"\r\n", b"x" * 998 + b"\r\n"])
def test_the_time_is_linear_and_short(line: bytes) -> None:
    data = line * (2_000_000 // len(line)) + b".\r\n"
    pieces = [data[i : i + 16384] for i in range(0, len(data), 16384)]
    start = time.process_time()
    content = Content(0, 998)
    assert read(pieces, content) == len(data)
    assert time.process_time() - start < 0.25  # 2 MB: some 3 ms, 12 with a dot on each line


def lines(pieces: list[bytes], max_bytes: int = 10) -> list[bytes | LineFault]:
    source, found = InputBuffer(), []
    for piece in pieces:
        source.append(piece)
        while (line := source.next_line(max_bytes)) is not None:
            found.append(line)
            if line is LineFault.BARE_NEWLINE:
                return found
        assert len(source) <= max_bytes + 1
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"NOOP", []),
        (b"NOOP\r", []),
        (b"NOOP\r\n", [b"NOOP"]),
        (b"\r\n\r\n", [b"", b""]),
        (b"a\r\nb\r\nc", [b"a", b"b"]),
        (b"1234567890\r\n", [b"1234567890"]),
        (b"12345678901\r\nb\r\n", [LineFault.TOO_LONG, b"b"]),
        (b"x" * 50 + b"\r\nb\r\n", [LineFault.TOO_LONG, b"b"]),
        (b"x" * 50, []),
        (b"a\nb\r\n", [LineFault.BARE_NEWLINE]),
        (b"\n", [LineFault.BARE_NEWLINE]),
        (b"a\r\n\n", [b"a", LineFault.BARE_NEWLINE]),
        (b"a\rb", [LineFault.BARE_NEWLINE]),
        (b"a\r\r\n", [LineFault.BARE_NEWLINE]),
        (b"x" * 50 + b"\rx", [LineFault.BARE_NEWLINE]),
        (b"x" * 50 + b"\n", [LineFault.BARE_NEWLINE]),
        (b"x" * 50 + b"\r\nb\nc", [LineFault.TOO_LONG, LineFault.BARE_NEWLINE]),
    ],
)
def test_command_lines(data: bytes, expected: list[bytes | LineFault]) -> None:
    for pieces in cuts(data):
        assert lines([piece for piece in pieces if piece]) == expected, pieces


def test_the_input_can_be_looked_at_taken_and_cleared() -> None:
    source = InputBuffer()
    assert source.first_byte() == -1
    source.append(b"ab")
    source.append(b"cd")
    assert source.first_byte() == ord("a")
    assert source.take(3) == b"abc"
    assert len(source) == 1
    assert source.take(9) == b"d"
    assert source.first_byte() == -1
    source.append(b"x")
    source.clear()
    assert not source
    source.append(b"y" * 20)
    assert source.next_line(5) is None
    source.append(b"\x16")
    assert source.first_byte() == -1  # a line is being skipped
