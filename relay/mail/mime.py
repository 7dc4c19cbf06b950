"""The parts of a message: where each begins and ends, what it says it is, and what is wrong with it.

It knows structure, not content: what is in a part is for others to look at. It reads what is
broken as lenient readers do, never raises, and names in `defects` what readers may read
differently. RFC 2045, RFC 2046, RFC 2183.

Theory of operation. One pass over the message, from one line that begins with "--" to the next. The
boundaries of all multiparts that are open are in a dictionary, so nesting costs nothing; a line
that ends an outer one ends all inner ones with it. Limits hold what a hostile message may cost: past
one of them the rest is one part, and a defect says so.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mail.charsets import base64_digits, decode_base64
from relay.mail.headers import MAX_HEADER_BYTES as MAX_MESSAGE_HEADER_BYTES
from relay.mail.parameters import Parameterized, parse_parameterized

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.mail.headers import HeaderBlock

__all__ = [
    "MAX_DEPTH",
    "MAX_PARTS",
    "Part",
    "Structure",
    "content",
    "read_structure",
    "structure_of",
]

MAX_PARTS: Final = 1000
MAX_DEPTH: Final = 50
MAX_DASHED_LINES: Final = 100_000
MAX_HEADER_BYTES: Final = 64 * 1024
"""Of a part; the message's own header has its own limit."""
MAX_BOUNDARY_CHARACTERS: Final = 70  # RFC 2046 5.1.1

_LONGEST_LINE: Final = 1000
_WINDOW_BYTES: Final = 1024 * 1024
_FIELD_START: Final = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 3.6.8, 4.5.8
_FIELD: Final = re.compile(
    rb"^(content-type|content-disposition|content-transfer-encoding|mime-version)[ \t]*:"
    rb"([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)",
    re.MULTILINE | re.IGNORECASE,
)
_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary", "base64", "quoted-printable"})
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})
_PLAIN: Final = Parameterized("text/plain", {}, ())
_MESSAGE: Final = Parameterized("message/rfc822", {}, ())
_NOTHING: Final = Parameterized("", {}, ())


class Part(NamedTuple):
    """One part that has no parts: `start` to `stop` is its content in the message, still encoded.

    `type` ("text/html"), `disposition` ("attachment", "" if there is none), `encoding` and
    `charset` are in lower case. `names` are all the file names that readers may find, decoded.
    """

    type: str
    disposition: str
    encoding: str
    charset: str
    names: tuple[str, ...]
    depth: int
    start: int
    stop: int

    @property
    def is_attachment(self) -> bool:
        """Whether readers offer it as a file."""
        return self.disposition == "attachment" or bool(self.names)


class Structure(NamedTuple):
    """What a message consists of.

    `parts` are those without parts, in order; `total` counts all, containers too; `types` are the
    types of all, each once; `depth` is that of the deepest, 0 for a message of one part.
    """

    parts: tuple[Part, ...]
    total: int
    depth: int
    types: tuple[str, ...]
    defects: tuple[str, ...]


def structure_of(block: HeaderBlock) -> Structure:
    """Return the structure of a message, found once and kept with its header."""
    if block.structure is None:
        block.structure = read_structure(block.message)
    return block.structure


def read_structure(message: bytes) -> Structure:
    """Find the parts of a message with CRLF line ends."""
    return _Walk(message).run()


def content(message: bytes, part: Part, max_bytes: int) -> bytes:
    """Return the first bytes of a part's content, its transfer encoding undone."""
    decoder, expansion = _DECODERS.get(part.encoding, _AS_IT_IS)
    stop = min(part.stop, part.start + max_bytes * expansion)
    pieces: list[bytes] = []
    position = part.start
    while position < stop:
        # Piece by piece, each to a line's end, so that other threads can run in between.
        end = message.find(b"\n", position + _PIECE_BYTES, stop) + 1 or stop
        pieces.append(message[position:end])
        position = end
    return decoder(pieces)[:max_bytes]


def _decoded_base64(pieces: list[bytes]) -> bytes:
    found: list[bytes] = []
    rest = b""
    for piece in pieces:
        digits = rest + base64_digits(piece)
        whole = len(digits) - len(digits) % 4
        found.append(decode_base64(digits[:whole]))
        rest = digits[whole:]
    return b"".join((*found, decode_base64(rest)))


def _decoded_quoted_printable(pieces: list[bytes]) -> bytes:
    return b"".join(binascii.a2b_qp(piece) for piece in pieces)


_PIECE_BYTES: Final = 256 * 1024
# How to decode, and how many characters a byte takes at most. Line ends are part of them.
_DECODERS: Final[dict[str, tuple[Callable[[list[bytes]], bytes], int]]] = {
    "base64": (_decoded_base64, 2),
    "quoted-printable": (_decoded_quoted_printable, 4),
}
_AS_IT_IS: Final[tuple[Callable[[list[bytes]], bytes], int]] = (b"".join, 1)


class _Container:
    """A multipart that is open: the lines "--boundary" are its own."""

    __slots__ = ("boundary", "default", "depth", "has_parts", "start")

    def __init__(self, boundary: bytes, default: Parameterized, depth: int, start: int) -> None:
        self.boundary = boundary
        self.default = default
        self.depth = depth
        self.start = start
        self.has_parts = False


class _Delimiter(NamedTuple):
    """A line that begins or ends a part: from the CRLF in front of it to the one behind it."""

    start: int
    stop: int
    level: int
    is_last: bool


class _Header(NamedTuple):
    """What the header of a part says, and where its content begins."""

    type: Parameterized
    disposition: Parameterized
    encoding: str
    start: int


class _Walk:
    """One pass over one message."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._parts: list[Part] = []
        self._types: dict[str, None] = {}
        self._defects: dict[str, None] = {}
        self._count = 0
        self._depth = 0
        self._open: list[_Container] = []
        self._levels: dict[bytes, int] = {}
        self._unfinished: Part | None = None  # its stop is where the next delimiter stands
        self._dashed_lines = 0

    def run(self) -> Structure:
        """Go through the message once."""
        position = self._entity(0, _PLAIN, 0)
        while self._open and self._count < MAX_PARTS:
            found = self._delimiter(position)
            self._finish(len(self._message) if found is None else found.start)
            if found is None:
                break
            self._close_down_to(found.level + 1, found.start)
            if found.is_last:
                self._close_down_to(found.level, found.start, is_ended=True)
                position = found.stop
            else:
                container = self._open[-1]
                container.has_parts = True
                start = min(found.stop + 2, len(self._message))
                position = self._entity(start, container.default, container.depth + 1)
        if self._count >= MAX_PARTS:
            self._note("too_many_parts")
        self._finish(len(self._message))
        self._close_down_to(0, len(self._message))
        return Structure(
            tuple(self._parts),
            self._count,
            self._depth,
            tuple(self._types),
            tuple(self._defects),
        )

    # --- a part -----------------------------------------------------------------------------

    def _entity(self, start: int, default: Parameterized, depth: int) -> int:
        """Take what begins at `start`, and messages in it; return where to look for delimiters."""
        while True:
            header = self._header(start, default)
            kind = header.type.value
            self._count += 1
            self._depth = max(self._depth, depth)
            self._types[kind] = None
            if kind == "message/rfc822" and self._may_open(header, depth):
                start, default, depth = header.start, _PLAIN, depth + 1
                continue
            if not (kind.startswith("multipart/") and self._opens(header, depth)):
                self._unfinished = _part(header, depth)
            return header.start - 2

    def _may_open(self, header: _Header, depth: int) -> bool:
        if header.encoding not in _PLAIN_ENCODINGS:
            self._note("encoded_container")  # RFC 2045 6.4
        elif depth >= MAX_DEPTH:
            self._note("too_deep")
        else:
            return self._count < MAX_PARTS
        return False

    def _opens(self, header: _Header, depth: int) -> bool:
        boundary = header.type.first("boundary").rstrip().encode("utf-8", "surrogateescape")
        if not boundary or len(boundary) > MAX_BOUNDARY_CHARACTERS:
            self._note("bad_boundary" if boundary else "no_boundary")
            return False
        if not self._may_open(header, depth):
            return False
        if boundary in self._levels:
            self._note("reused_boundary")
        is_digest = header.type.value == "multipart/digest"  # RFC 2046 5.1.5
        default = _MESSAGE if is_digest else _PLAIN
        self._levels[boundary] = len(self._open)
        self._open.append(_Container(boundary, default, depth, header.start))
        return True

    def _finish(self, stop: int) -> None:
        if self._unfinished is not None:
            start = self._unfinished.start
            self._parts.append(self._unfinished._replace(stop=max(start, stop)))
            self._unfinished = None

    # --- headers ----------------------------------------------------------------------------

    def _header(self, start: int, default: Parameterized) -> _Header:
        stop, content_start = self._header_place(start)
        found: dict[bytes, bytes] = {}
        for name, value in _FIELD.findall(self._message, start, stop):
            if found.setdefault(name.lower(), value) is not value:
                self._note("duplicate_field")
        kind = default
        if b"content-type" in found:
            kind = parse_parameterized(found[b"content-type"])
            if "/" not in kind.value:
                self._note("bad_type")
                kind = _PLAIN  # RFC 2045 5.2
            elif not start and b"mime-version" not in found and kind.value != "text/plain":
                self._note("no_version")
        disposition = _NOTHING
        if b"content-disposition" in found:
            disposition = parse_parameterized(found[b"content-disposition"])
        for defect in (*kind.defects, *disposition.defects):
            self._note(defect)
        return _Header(kind, disposition, self._encoding(found), content_start)

    def _header_place(self, start: int) -> tuple[int, int]:
        """Return where the header that begins at `start` ends, and where the content begins."""
        message = self._message
        if message.startswith(b"\r\n", start):
            return start, start + 2
        if _FIELD_START.match(message, start) is None:
            if start:
                self._note("no_header")
            return start, start
        limit = start + MAX_HEADER_BYTES if start else MAX_MESSAGE_HEADER_BYTES
        stop = message.find(b"\r\n\r\n", start, limit)
        content_start = stop + 4
        if stop < 0:
            stop = content_start = min(limit, len(message))
            if content_start < len(message):
                self._note("long_header")
        if self._open and message.find(b"\r\n--", start, stop) >= 0:
            delimiter = self._delimiter(start)
            if delimiter is not None and delimiter.start < stop:
                self._note("unended_header")
                return delimiter.start, delimiter.start + 2
        return stop, content_start

    def _encoding(self, found: dict[bytes, bytes]) -> str:
        raw = found.get(b"content-transfer-encoding", b"").strip().lower()
        encoding = raw.decode("latin-1")
        if encoding not in _ENCODINGS:
            encoding = parse_parameterized(raw).value  # with a comment behind it, say
            self._note("unknown_encoding")
        return encoding

    # --- delimiters -------------------------------------------------------------------------

    def _delimiter(self, position: int) -> _Delimiter | None:
        """Find the next line at or behind `position` that is the delimiter of an open multipart."""
        message, levels = self._message, self._levels
        while (start := self._dashes(position)) >= 0:
            self._dashed_lines += 1
            if self._dashed_lines > MAX_DASHED_LINES:
                self._note("too_many_delimiters")
                return None
            stop = message.find(b"\r\n", start + 4, start + _LONGEST_LINE)
            if stop < 0:
                stop = min(len(message), start + _LONGEST_LINE)
            line = message[start + 4 : stop].rstrip(b" \t")  # RFC 2046 5.1.1: transport padding
            if line in levels:
                return _Delimiter(start, stop, levels[line], is_last=False)
            if line.endswith(b"--") and line[:-2] in levels:
                return _Delimiter(start, stop, levels[line[:-2]], is_last=True)
            position = start + 4
        return None

    def _dashes(self, position: int) -> int:
        """Find the next line that begins so, in steps that other threads can run between."""
        while position < len(self._message):
            found = self._message.find(b"\r\n--", position, position + _WINDOW_BYTES)
            if found >= 0:
                return found
            position += _WINDOW_BYTES - len(b"\r\n-")
        return -1

    def _close_down_to(self, level: int, stop: int, *, is_ended: bool = False) -> None:
        """Close the multiparts from `level` on; what an outer one has ended was not ended itself."""
        if len(self._open) <= level:
            return
        while len(self._open) > level:
            container = self._open.pop()
            if not is_ended:
                self._note("unclosed")
            if not container.has_parts:
                self._note("no_parts")  # readers show what there is as text
                self._unfinished = Part(
                    "text/plain", "", "", "", (), container.depth, container.start, 0
                )
                self._finish(stop)
        self._levels = {each.boundary: at for at, each in enumerate(self._open)}

    def _note(self, defect: str) -> None:
        self._defects[defect] = None


def _part(header: _Header, depth: int) -> Part:
    kind, disposition = header.type, header.disposition
    names = disposition.parameters.get("filename", ()) + kind.parameters.get("name", ())
    return Part(
        kind.value,
        disposition.value,
        header.encoding,
        kind.first("charset").lower(),
        tuple(dict.fromkeys(name for name in names if name)),
        depth,
        header.start,
        header.start,
    )
