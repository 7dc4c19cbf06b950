"""The members of zip, tar and gzip archives, without ever unpacking more than an allowance.

Own readers, since the standard library's believe what an archive says of itself: they raise dozens
of exceptions on broken ones and keep whatever a directory of a million entries promises. These never
raise; what can't be read ends the list, and `Listing.is_whole` says so.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Allowance",
    "Listing",
    "Member",
    "list_gzip",
    "list_tar",
    "list_zip",
    "unpack",
    "unpack_gzip",
]

_STORED: Final = 0
_DEFLATED: Final = 8
_LENGTH_UNKNOWN: Final = 0xFFFFFFFF


@dataclass(slots=True)
class Allowance:
    """What may still be spent on one message: entries listed and bytes unpacked."""

    entries: int
    unpacked_bytes: int


class Member(NamedTuple):
    """One file in an archive: where its packed bytes are, and what the archive says of it."""

    name: str
    size_bytes: int
    method: int
    start: int
    stop: int
    is_encrypted: bool = False

    @property
    def packed_bytes(self) -> int:
        """How long it is in the archive."""
        return self.stop - self.start


@dataclass(slots=True)
class Listing:
    """What is in an archive; `is_whole` unless it is broken or the allowance was spent."""

    members: list[Member] = field(default_factory=list)
    is_whole: bool = True
    has_overlaps: bool = False


def unpack(data: bytes, member: Member, max_bytes: int) -> bytes:
    """Return the first bytes of a member; b"" if it is encrypted or packed in a way not known here."""
    if member.is_encrypted or max_bytes <= 0:
        return b""
    if member.method == _STORED:
        return data[member.start : min(member.stop, member.start + max_bytes)]
    if member.method != _DEFLATED:
        return b""
    packed = memoryview(data)[member.start : member.stop]
    return _inflate(packed, max_bytes, -zlib.MAX_WBITS)


def _inflate(packed: memoryview, max_bytes: int, window_bits: int) -> bytes:
    reader = zlib.decompressobj(window_bits)
    pieces: list[bytes] = []
    rest: memoryview | bytes = packed
    missing = max_bytes
    try:
        while missing > 0 and not reader.eof:
            piece = reader.decompress(rest, min(missing, _STEP_BYTES))
            rest = reader.unconsumed_tail
            if not piece and not rest:
                break
            pieces.append(piece)
            missing -= len(piece)
    except zlib.error:
        pass  # what has come out before is what a lenient reader shows, too
    return b"".join(pieces)


_STEP_BYTES: Final = 1024 * 1024


# --- zip ---------------------------------------------------------------------------------------

_END: Final = struct.Struct("<4s4H2LH")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END_SEARCHED_BYTES: Final = _END.size + 0xFFFF
_ENCRYPTED: Final = 0x0001
_HAS_DESCRIPTOR: Final = 0x0008
_UTF_8: Final = 0x0800
_AES: Final = 99
_ZIP64: Final = 1


def list_zip(data: bytes, allowance: Allowance) -> Listing:
    """List a zip archive by its directory; where that is broken, by the headers of its files."""
    listing = Listing()
    at = data.rfind(b"PK\x05\x06", max(0, len(data) - _END_SEARCHED_BYTES))
    end = _END.unpack_from(data, at) if 0 <= at <= len(data) - _END.size else None
    found = None if end is None else _directory(data, at, end)
    entries = _local_members(data) if found is None else found
    listing.is_whole = found is not None
    packed_bytes = 0
    for member in entries:
        if member is None or allowance.entries <= 0:
            listing.is_whole = False
            break
        allowance.entries -= 1
        packed_bytes += member.packed_bytes
        listing.members.append(member)
    # Members that share their bytes are how a small archive promises petabytes.
    listing.has_overlaps = packed_bytes > len(data)
    return listing


def _directory(data: bytes, end_at: int, end: tuple[int, ...]) -> Iterator[Member | None] | None:
    """Return the members that the directory lists, None at a broken entry; None if there is no directory."""
    _, _, _, _, count, size_bytes, offset, _ = end
    start = end_at - size_bytes  # what stands before the archive shifts all its offsets
    shift = start - offset
    if _LENGTH_UNKNOWN in {offset, size_bytes}:
        locator = data.rfind(b"PK\x06\x06", 0, end_at)
        if locator < 0 or locator + 56 > len(data):
            return None
        size_bytes, offset = struct.unpack_from("<QQ", data, locator + 40)
        start, shift = locator - size_bytes, locator - size_bytes - offset
    if start < 0 or (count and not data.startswith(b"PK\x01\x02", start)):
        return None
    return _entries(data, start, start + size_bytes, shift)


def _entries(data: bytes, at: int, stop: int, shift: int) -> Iterator[Member | None]:
    while at + _ENTRY.size <= stop:
        fields = _ENTRY.unpack_from(data, at)
        signature, _, _, flags, method = fields[:5]
        packed, size = fields[8:10]
        name_length, extra_length, comment_length = fields[10:13]
        offset = fields[16]
        if signature != b"PK\x01\x02":
            yield None
            return
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        if _LENGTH_UNKNOWN in {packed, size, offset}:
            size, packed, offset = _zip64(
                data[extra_at : extra_at + extra_length], size, packed, offset
            )
        claim = _Claim(data[name_at:extra_at], flags, method, packed, size)
        yield from _members(data, offset + shift, claim)
        at = extra_at + extra_length + comment_length


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Read the long lengths from an entry's extra field; those that are short stay as they are."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == _ZIP64:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra[at + 4 :].ljust(length)))
            return (
                next(values, size) if size == _LENGTH_UNKNOWN else size,
                next(values, packed) if packed == _LENGTH_UNKNOWN else packed,
                next(values, offset) if offset == _LENGTH_UNKNOWN else offset,
            )
        at += 4 + length
    return size, packed, offset


class _Claim(NamedTuple):
    """What one of the two headers of a file says of it."""

    name: bytes
    flags: int
    method: int
    packed_bytes: int
    size_bytes: int


def _members(data: bytes, at: int, claim: _Claim) -> Iterator[Member]:
    """Yield a member; a second time, without content, if its own header gives it another name."""
    start = at
    flags = claim.flags
    other_name = None
    if at >= 0 and data.startswith(b"PK\x03\x04", at) and at + _LOCAL.size <= len(data):
        fields = _LOCAL.unpack_from(data, at)
        name_at = at + _LOCAL.size
        start = name_at + fields[9] + fields[10]
        name = data[name_at : name_at + fields[9]]
        other_name = None if name == claim.name else name
        flags |= fields[2] & _ENCRYPTED
    start = min(max(start, 0), len(data))
    member = Member(
        _text(claim.name, flags),
        claim.size_bytes,
        claim.method,
        start,
        min(start + claim.packed_bytes, len(data)),
        bool(flags & _ENCRYPTED) or claim.method == _AES,
    )
    yield member
    if other_name is not None:
        yield member._replace(name=_text(other_name, flags), size_bytes=0, stop=start)


def _text(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & _UTF_8 else "cp437", "replace")


def _local_members(data: bytes) -> Iterator[Member | None]:
    """Yield the files whose headers stand in the archive, as a reader does that mends it."""
    at = data.find(b"PK\x03\x04")
    while 0 <= at <= len(data) - _LOCAL.size:
        fields = _LOCAL.unpack_from(data, at)
        flags, method, packed, size = fields[2], fields[3], fields[7], fields[8]
        name_at = at + _LOCAL.size
        start = name_at + fields[9] + fields[10]
        if flags & _HAS_DESCRIPTOR and not packed:
            following = data.find(b"PK\x03\x04", start)
            packed = (following if following >= 0 else len(data)) - start
        name = data[name_at : name_at + fields[9]]
        yield from _members(data, at, _Claim(name, flags, method, packed, size))
        at = data.find(b"PK\x03\x04", max(start + packed, at + 4))


# --- tar ---------------------------------------------------------------------------------------

_BLOCK_BYTES: Final = 512
_NAME_TYPES: Final = b"LxgXK"  # GNU long names, and pax records


def list_tar(data: bytes, allowance: Allowance) -> Listing:
    """List a tar archive: ustar, GNU and pax names."""
    listing = Listing()
    at = 0
    long_name = ""
    while at + _BLOCK_BYTES <= len(data):
        block = data[at : at + _BLOCK_BYTES]
        if not block.strip(b"\0"):
            return listing
        size = _tar_number(block[124:136])
        if size < 0 or allowance.entries <= 0:
            break
        allowance.entries -= 1
        start = at + _BLOCK_BYTES
        stop = min(start + size, len(data))
        kind = block[156:157]
        if kind and kind in _NAME_TYPES:
            long_name = _long_name(kind, data[start : min(stop, start + 4096)]) or long_name
        else:
            name = long_name or _tar_name(block)
            listing.members.append(Member(name, size, _STORED, start, stop))
            long_name = ""
        at = start + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
    listing.is_whole = False  # it has no end, or it was not come to
    return listing


def _tar_number(digits: bytes) -> int:
    if digits[:1] in {b"\x80", b"\xff"}:  # GNU: binary, for large files
        return int.from_bytes(digits[1:], "big")
    try:
        return int(digits.strip(b" \0") or b"0", 8)
    except ValueError:
        return -1


def _tar_name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _long_name(kind: bytes, text: bytes) -> str:
    if kind == b"L":
        return text.rstrip(b"\0").decode("utf-8", "replace")
    _, found, rest = text.partition(b" path=")
    return rest.partition(b"\n")[0].decode("utf-8", "replace") if found else ""


# --- gzip --------------------------------------------------------------------------------------

_GZIP_HEADER_BYTES: Final = 10
_HAS_EXTRA: Final = 0x04
_HAS_NAME: Final = 0x08


def list_gzip(data: bytes, outer_name: str) -> Member:
    """Return the one file in a gzip archive, called as the archive says or without its ".gz"."""
    size = int.from_bytes(data[-4:], "little")  # what it says of itself, modulo 4 GiB
    flags = data[3] if len(data) > _GZIP_HEADER_BYTES else 0
    at = _GZIP_HEADER_BYTES
    if flags & _HAS_EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    name = b""
    if flags & _HAS_NAME:
        name = data[at : at + 1024].partition(b"\0")[0]
    if name:
        return Member(name.decode("latin-1"), size, _DEFLATED, 0, len(data))
    lower = outer_name.lower()
    suffix = next((each for each in (".gz", ".gzip", ".tgz") if lower.endswith(each)), "")
    plain = outer_name[: len(outer_name) - len(suffix)]
    return Member(plain + ".tar" * (suffix == ".tgz"), size, _DEFLATED, 0, len(data))


def unpack_gzip(data: bytes, max_bytes: int) -> bytes:
    """Return the first bytes of what a gzip archive holds."""
    return _inflate(memoryview(data), max_bytes, zlib.MAX_WBITS | 16)
