r"""Where a command line ends, where a message ends, and whether its bytes are in order.

It knows nothing of commands, states or replies (RFC 5321 2.3.8, 4.1.1.4, 4.5.2, 4.5.3.1).

Theory of operation
-------------------
*Only CRLF ends a line.* A program that takes a bare CR or LF for a line end, next to one that does
not, is how messages are smuggled (CVE-2023-51764 and its kin). So every bare CR or LF, in commands
and in content, wherever a chunk begins or ends, is reported before anything behind it is
interpreted. CRLF.CRLF is the only end of DATA; LF.LF, LF.CRLF, CR.CR, CR.CRLF and CRCRLF.CRLF all
hold a bare CR or LF. BDAT content is counted, but has to obey the same rule: the next hop may get
it by DATA.

*Content passes the interpreter's loop by the chunk, never by the line.* A message is looked at in
the chunks in which it came, each byte once per question, and all questions are asked by loops in C.
Measured in ms per MB of 76-byte lines (Python 3.11; the alternatives in docs/decisions):

    0.38  bare CR or LF:     io.IncrementalNewlineDecoder reports all kinds of line ends it has met
    0.18  a dot at a line's start:  find(b"\r\n."); 0.01 where `_DOT in chunk` has said that there is
          none at all (base64)
    0.15  line too long:     rfind(b"\n") in windows of the limit, one for every 1000 bytes
    0.01  NUL:               `_NUL in chunk`, numbers both: bytes are looked for in bytes only
          after an exception, inside, has told that they are no number (0.24 us)
    0.05  keeping it:        a list, joined once (a growing io.BytesIO: 0.5)

Only a chunk that has a dot at the start of a line pays for more: one `find` of the end (0.12) and a
`split` at those dots, joined again (0.25; 7 where nearly all bytes are such dots; `re.sub` 0.35 and
9, `bytes.replace` 0.35 and 4; a Python built without PGO takes three times as long for `find` and
`split`). Both are linear whatever the peer sends; so is the rest.

*Chunk borders.* `DataReader` holds back the longest end of a chunk that could begin CRLF.CRLF (four
bytes at most) and puts it before the next one. A message begins as if CRLF had just been
there, so that a first line of "." needs no rule of its own.
"""

from __future__ import annotations

import io
from enum import Enum
from typing import Final

__all__ = ["Content", "DataReader", "InputBuffer", "LineFault"]


class LineFault(Enum):
    """Why a command line is none."""

    BARE_NEWLINE = "bare_newline"
    TOO_LONG = "command_too_long"


class InputBuffer:
    """What has been received and not been looked at yet."""

    __slots__ = ("_data", "_is_skipping", "_position")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._is_skipping = False

    def __len__(self) -> int:
        return len(self._data) - self._position

    def append(self, data: bytes) -> None:
        """Put received bytes behind what is there."""
        if self._position == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._position :] + data
        self._position = 0

    def first_byte(self) -> int:
        """The next byte without taking it, -1 if there is none (or a line is being skipped)."""
        if self._is_skipping or self._position == len(self._data):
            return -1
        return self._data[self._position]

    def next_line(self, max_bytes: int) -> bytes | LineFault | None:
        """Take a line, without its CRLF; None if it has not come whole.

        A line longer than `max_bytes` is dropped as it comes and reported once it ends.
        """
        data, start = self._data, self._position
        if start == len(data):
            self.clear()
            return None
        end = data.find(b"\n", start)
        if end < 0:
            return self._keep_partial_line(max_bytes)
        self._position = end + 1
        if end == start or data.find(b"\r", start, end) != end - 1:  # RFC 5321 2.3.8
            return LineFault.BARE_NEWLINE
        if self._is_skipping or end - 1 - start > max_bytes:
            self._is_skipping = False
            return LineFault.TOO_LONG
        return data[start : end - 1]

    def _keep_partial_line(self, max_bytes: int) -> LineFault | None:
        rest = self._data[self._position :]
        cr = rest.find(b"\r")
        if 0 <= cr < len(rest) - 1:
            return LineFault.BARE_NEWLINE
        if self._is_skipping or len(rest) > max_bytes + len("\r"):
            self._is_skipping = True
            rest = rest[cr:] if cr >= 0 else b""
        self._data = rest
        self._position = 0
        return None

    def take(self, max_bytes: int) -> bytes:
        """Take what is there, at most `max_bytes`."""
        data, start = self._data, self._position
        if max_bytes >= len(data) - start:
            self.clear()
            return data[start:]
        self._position = start + max_bytes
        return data[start : self._position]

    def take_content(self, reader: DataReader) -> bool:
        """Give the reader what belongs to its message; True if the message ended there."""
        data = self._data[self._position :]
        end = reader.feed(data)
        self._position = 0
        if end < 0:
            self._data = b""
            return False
        self._data = data[end:]
        return True

    def clear(self) -> None:
        """Forget all."""
        self._data = b""
        self._position = 0


_NUL: Final = 0
_SMALL_PIECE_BYTES: Final = 4096
_BLOCK_BYTES: Final = 64 * 1024


class Content:
    """A message being received: its bytes so far and what is wrong with them.

    Kept only while nothing is wrong; what comes after is checked on, for bare CR or LF, and dropped.
    `max_bytes` 0 means no limit.
    """

    __slots__ = (
        "_column",
        "_kept",
        "_max_bytes",
        "_max_line_bytes",
        "_newlines",
        "_small",
        "has_bare_newline",
        "has_long_line",
        "has_nul",
        "is_too_large",
        "kept_bytes",
        "size_bytes",
    )

    def __init__(self, max_bytes: int, max_line_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes
        self._newlines = io.IncrementalNewlineDecoder(None, translate=False)
        self._column = 0
        self._kept: list[bytes] | None = []
        # Pieces of a few bytes each are gathered: a peer that sends such shall not make us hold
        # an object for each of them.
        self._small = bytearray()
        self.size_bytes = 0
        self.kept_bytes = 0
        self.has_bare_newline = False
        self.has_nul = False
        self.has_long_line = False
        self.is_too_large = False

    def add(self, piece: bytes) -> None:
        """Take the next bytes: transparency undone, nothing else changed."""
        self._newlines.decode(piece.decode("latin-1"))
        # None: no line end so far. A lone CR at the end of the piece waits for the next one.
        if self._newlines.newlines not in (None, "\r\n"):
            self.has_bare_newline = True
        if _NUL in piece:
            self.has_nul = True
        if not self.has_long_line:
            self._measure_lines(piece)
        self.size_bytes += len(piece)
        if 0 < self._max_bytes < self.size_bytes:
            self.is_too_large = True
        self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        if self.has_bare_newline or self.has_nul or self.has_long_line or self.is_too_large:
            self.drop()
        elif self._kept is not None:
            self.kept_bytes += len(piece)
            if len(piece) >= _SMALL_PIECE_BYTES:
                self._flush_small()
                self._kept.append(piece)
            else:
                self._small += piece
                if len(self._small) >= _BLOCK_BYTES:
                    self._flush_small()

    def _flush_small(self) -> None:
        if self._small and self._kept is not None:
            self._kept.append(bytes(self._small))
            self._small.clear()

    def _measure_lines(self, piece: bytes) -> None:
        """Look for a line over the limit; `_column` is how far the line at the border has come."""
        window = self._max_line_bytes + len("\r\n")
        start, room, size = 0, window - self._column, len(piece)
        while size - start >= room:
            end = piece.rfind(b"\n", start, start + room)
            if end < 0:
                self.has_long_line = True
                return
            start, room = end + 1, window
        end = piece.rfind(b"\n", start)
        if end >= 0:
            self._column = size - 1 - end
        else:
            self._column = window - room + size - start

    def announce(self, size_bytes: int) -> None:
        """Note that so many bytes are to come (BDAT): a message too large is not kept at all."""
        if 0 < self._max_bytes < self.size_bytes + size_bytes:
            self.is_too_large = True
            self.drop()

    def end(self) -> None:
        """Check what only the end of BDAT content can show; DATA always ends with CRLF."""
        self._newlines.decode("", final=True)
        if self._newlines.newlines not in (None, "\r\n"):
            self.has_bare_newline = True
        if self._column > self._max_line_bytes:
            self.has_long_line = True

    def drop(self) -> None:
        """Keep nothing of it, now and later."""
        self._kept = None
        self._small.clear()
        self.kept_bytes = 0

    def take_body(self) -> bytes:
        """Hand over the whole message and keep nothing; only once, and if nothing was dropped.

        Joining takes about a millisecond per MB, so another thread may have to do it: what joins
        bytes of more than a megabyte lets go of the interpreter.
        """
        assert self._kept is not None
        self._flush_small()
        body = b"".join(self._kept)
        self.drop()
        return body


_DOT: Final = ord(".")
_LINE_STARTS_WITH_DOT: Final = b"\r\n."
_END_OF_DATA: Final = b"\r\n.\r\n"
_BEGINNINGS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class DataReader:
    """The content of DATA: finds its end and undoes transparency (RFC 5321 4.5.2)."""

    __slots__ = ("_content", "_held", "_is_fresh")

    def __init__(self, content: Content) -> None:
        self._content = content
        self._held = b"\r\n"  # of the DATA command, as it were
        self._is_fresh = True

    def feed(self, data: bytes) -> int:
        """Take the next bytes; return where in `data` the message ended, -1 if it goes on."""
        if self._held == b"\r\n" and self._is_fresh and data and not data.startswith(b"."):
            # No dot at the beginning: no line end is needed in front of it, which spares two copies.
            self._held = b""
            self._is_fresh = False
        text = self._held + data if self._held else data
        dot = text.find(_LINE_STARTS_WITH_DOT) if _DOT in text else -1
        found = text.find(_END_OF_DATA, dot) if dot >= 0 else -1
        if found >= 0:
            end = found + len(_END_OF_DATA) - len(self._held)
            stop = found + len("\r\n")
        else:
            end = -1
            stop = len(text) - _held_back(text)
        self._held = text[stop:]
        piece = text[:stop]
        if 0 <= dot <= stop - len(_LINE_STARTS_WITH_DOT):  # not just the dot of the end itself
            piece = b"\r\n".join(piece.split(_LINE_STARTS_WITH_DOT))
        if self._is_fresh and piece:
            self._is_fresh = False
            piece = piece[len("\r\n") :]
        self._content.add(piece)
        return end


def _held_back(text: bytes) -> int:
    """How many bytes at the end of `text` could begin the end of data."""
    for beginning in _BEGINNINGS_OF_END:
        if text.endswith(beginning):
            return len(beginning)
    return 0
