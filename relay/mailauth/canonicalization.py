"""The bytes that signatures are made over: canonical header fields, and hashes of the canonical body.

Linear in what it is given, and no copy of the body as a whole. It knows nothing of tags and keys
(RFC 6376 3.4 and 5.4.2).

A body is hashed block by block, a few calls into C each, so that others can have a turn in between.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.turns import at_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from relay.mail.headers import Field, HeaderBlock
    from relay.turns import Steps

__all__ = [
    "BodyHash",
    "FieldStack",
    "body_hash",
    "body_start",
    "hashing",
    "header_hash",
    "relaxed_field",
]

_CRLF: Final = b"\r\n"
_BLOCK_BYTES: Final = 64 * 1024
_MOST_BLOCKS: Final = 128
"""So many turns a message waits for at most: where each takes long, it must not take for ever."""
_EMPTY_LINES: Final = tuple(_CRLF * count for count in (32768, 128, 1))


def relaxed_field(raw: bytes) -> bytes:
    """Return a header field, CRLF included, in relaxed form (RFC 6376 3.4.2)."""
    name, _, value = raw.partition(b":")
    words = value.replace(_CRLF, b"").replace(b"\t", b" ").split(b" ")
    return b"%b:%b\r\n" % (name.strip(b" \t").lower(), b" ".join(filter(None, words)))


class FieldStack:
    """The header fields of a message, to be taken from the bottom up, by name (RFC 6376 5.4.2).

    Args:
        fields: name in lower case and raw bytes, CRLF included, of each field from the top.
    """

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw: dict[bytes, list[bytes]] = {}
        self._relaxed: dict[bytes, bytes] = {}
        for name, raw in fields:
            self._raw.setdefault(name, []).append(raw)

    @classmethod
    def of(cls, header: HeaderBlock, *, but: Field | None = None) -> FieldStack:
        """The fields of a message's header, but for one: a signature does not cover its own field.

        By the names that all verifiers see: what is taken for a Subject field in our caution, is none here.
        """
        message = header.message
        fields = []
        for field in header.fields:
            if field is not but:
                name, raw = field.name, message[field.start : field.stop]
                if raw[len(name) : len(name) + 1] != b":":  # something fell out of it
                    name = raw.partition(b":")[0].rstrip(b" \t").lower()
                fields.append((name, raw))
        return cls(fields)

    def count(self, name: bytes) -> int:
        """How many fields of this name (in lower case) there are."""
        return len(self._raw.get(name, ()))

    def canonical(self, names: Sequence[bytes], *, relaxed: bool) -> list[bytes]:
        """Return the fields that h= names, in its order; one that is not there is nothing."""
        taken: dict[bytes, int] = {}
        found: list[bytes] = []
        for name in names:
            position = taken[name] = taken.get(name, 0) + 1
            fields = self._raw.get(name, ())
            if position <= len(fields):
                raw = fields[-position]
                found.append(self._relax(raw) if relaxed else raw)
        return found

    def _relax(self, raw: bytes) -> bytes:
        """Relax a field once for all signatures that cover it."""
        relaxed = self._relaxed.get(raw)
        if relaxed is None:
            relaxed = self._relaxed[raw] = relaxed_field(raw)
        return relaxed


def body_start(header: HeaderBlock) -> int:
    """Return where the body begins, behind the empty line."""
    end = header.end
    return end + 2 if header.message.startswith(_CRLF, end) else end


def header_hash(
    stack: FieldStack, names: Sequence[bytes], signature_field: bytes, *, relaxed: bool
) -> bytes:
    """Return what is signed: SHA-256 over the fields and the signature's own, without its b= (RFC 6376 3.7)."""
    pieces = stack.canonical(names, relaxed=relaxed)
    if relaxed:
        signature_field = relaxed_field(signature_field)
    pieces.append(signature_field.removesuffix(_CRLF))
    return sha256(b"".join(pieces)).digest()


class BodyHash(NamedTuple):
    """SHA-256 of a canonical body: of its first bytes by their number, of all of it as None.

    `length` is that of the canonical body; a number beyond it has no hash.
    """

    length: int
    digests: dict[int | None, bytes]


def body_hash(
    message: bytes, start: int, *, relaxed: bool, lengths: Collection[int] = ()
) -> BodyHash:
    """Hash the body that begins at `start`; also its first `lengths` bytes, for l=."""
    return at_once(hashing(message, start, relaxed=relaxed, lengths=lengths))


def hashing(
    message: bytes, start: int, *, relaxed: bool, lengths: Collection[int] = ()
) -> Steps[BodyHash]:
    """The same in steps of a block; a body of one block is one step."""
    block_bytes = max(_BLOCK_BYTES, (len(message) - start) // _MOST_BLOCKS)
    body = _relaxed_body if relaxed else _simple_body
    pieces = body(message, start, block_bytes)
    return _hashing(pieces, sorted(lengths, reverse=True))


def _hashing(pieces: Iterable[bytes | memoryview], pending: list[int]) -> Steps[BodyHash]:
    """Hash what the pieces make together; `pending` are the lengths of interest, greatest first."""
    digests: dict[int | None, bytes] = {}
    hasher = sha256()
    position = 0
    for number, piece in enumerate(pieces):
        if number:
            yield
        view = memoryview(piece)
        while pending and pending[-1] <= position + len(view):
            length = pending.pop()
            beginning = hasher.copy()
            beginning.update(view[: length - position])
            digests[length] = beginning.digest()
        hasher.update(view)
        position += len(view)
    if pending and pending[-1] == position == 0:
        digests[0] = hasher.digest()
    digests[None] = hasher.digest()
    return BodyHash(position, digests)


def _simple_body(message: bytes, start: int, block_bytes: int) -> Iterator[bytes | memoryview]:
    """RFC 6376 3.4.3: empty lines at the end are gone, and one CRLF ends the body."""
    end = _end_of_content(message, start)
    view = memoryview(message)
    for position in range(start, end, block_bytes):
        yield view[position : min(position + block_bytes, end)]
    if end == start or not message.endswith(_CRLF, start, end):
        yield _CRLF


def _relaxed_body(message: bytes, start: int, block_bytes: int) -> Iterator[bytes | memoryview]:
    """RFC 6376 3.4.4: blanks at the end of lines gone, others made one, and as simple; may be empty.

    A block of which nothing is left is an empty piece: looking at it has taken time, too.
    """
    held = 0  # empty lines that count only if something follows them
    for block in _blocks(message, start, block_bytes):
        relaxed = _with_single_blanks(block)
        end = _end_of_content(relaxed, 0)
        if end:
            yield from _empty_lines(held)
            held = 0
        yield memoryview(relaxed)[:end]
        held += (len(relaxed) - end) // 2


def _empty_lines(count: int) -> Iterator[bytes]:
    most = len(_EMPTY_LINES[0])
    for rest in range(count * 2, 0, -most):
        yield _EMPTY_LINES[0][:rest]


def _with_single_blanks(lines: bytes) -> bytes:
    if b"\t" in lines:
        lines = lines.replace(b"\t", b" ")
    while b"  " in lines:
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", _CRLF)


def _blocks(message: bytes, start: int, block_bytes: int) -> Iterator[bytes]:
    """Cut the body into runs of whole lines of about that size, the last one ended by CRLF whatever came."""
    size = len(message)
    while start < size:
        end = message.find(_CRLF, start + block_bytes - 2) + 2
        if end == 1:  # the last
            block = message[start:]
            yield block if block.endswith(_CRLF) else block + _CRLF
            return
        yield message[start:end]
        start = end


def _end_of_content(text: bytes, start: int) -> int:
    """Return where the empty lines at the end begin: behind the CRLF of the last line that has something."""
    end = len(text)
    for empty in _EMPTY_LINES:  # in great steps first: a body can be nothing but empty lines
        while text.endswith(empty, start, end):
            end -= len(empty)
    return end + 2 if end > start and text.startswith(_CRLF, end) else end
