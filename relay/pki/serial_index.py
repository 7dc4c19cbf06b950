"""An index of revoked serial numbers that all workers read from one file, without parsing it.

Bytes in, bytes out: knows nothing of files, of CRLs or of whether what it holds still counts. RFC 5280 5.

The file, all numbers big-endian:

    magic     8   b"GPSERIAL"
    size      4   of the header
    digest   32   SHA-256 of the header
    header    n   JSON: count, whose list it is, which one, from when until when, what it covers
    fan-out   4 x 256 or 4 x 65536   how many records have keys up to and with each first byte (or two)
    records  26 x count, sorted

A record is the key, the date (4 bytes, seconds since 1970) and the reason (1 byte, as in RFC 5280
5.3.1). The key is the serial number in 21 bytes, two's complement, *least significant byte first*:
so the first bytes are evenly spread whether a CA draws its numbers or counts them, the fan-out leaves
a few hundred records to search at most, and sorting goes bucket by bucket in little memory.
"""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from relay.errors import GatepostError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "KEY_BYTES",
    "LAST_DAY",
    "REASONS",
    "Buffer",
    "CorruptIndex",
    "Entry",
    "IndexHeader",
    "SerialIndex",
    "build_index",
    "pack_record",
]

MAGIC: Final = b"GPSERIAL"
KEY_BYTES: Final = 21
"""20 octets (RFC 5280 4.1.2.2) and the sign."""
RECORD_BYTES: Final = KEY_BYTES + 5
_HEADER_AT: Final = len(MAGIC) + 4 + 32
_WIDE_FROM: Final = 2**16
"""So many records make a fan-out by two bytes worth its 256 KiB: a third of the steps of a look-up."""
_DATE_AND_REASON: Final = struct.Struct(">IB")
LAST_DAY: Final = (2**32 - 1) // 86400 * 86400 - 86400
"""The last day (in 2106) that a record can hold, as seconds since 1970."""

REASONS: Final = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
"""RFC 5280 5.3.1."""


class CorruptIndex(GatepostError):
    """Bytes that claim to be an index and are none, or not a whole one."""


class Buffer(Protocol):
    """Bytes, or a memory-mapped file: what gives bytes when sliced."""

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice, /) -> bytes: ...


class Entry(NamedTuple):
    """When and why a certificate was revoked."""

    revoked_at: datetime
    reason: str


class IndexHeader(NamedTuple):
    """What a list says of itself.

    `issuer_name` and `issuer_key` are SHA-256 in hex of the CA's name (DER) and public key (SPKI).
    `number` is the CRL number, `base_number` that of the list a delta adds to. `only` is "user" or
    "ca" where the list covers only such certificates. `points` are the distribution points whose
    certificates it covers, () for all.
    """

    issuer_name: str
    issuer_key: str
    this_update: datetime
    next_update: datetime
    number: int | None = None
    base_number: int | None = None
    only: str = ""
    points: tuple[str, ...] = ()


def pack_record(serial: bytes, revoked_at: int, reason: int) -> bytes:
    """Make one record.

    Args:
        serial: the number as DER has it, most significant byte first, at most 21 bytes.
        revoked_at: seconds since 1970, before the end of `LAST_DAY`.
        reason: the number of RFC 5280 5.3.1.

    Raises:
        ValueError: the serial number is too long.
    """
    if not 1 <= len(serial) <= KEY_BYTES:
        raise ValueError("a serial number of more than 20 octets")
    key = serial[::-1].ljust(KEY_BYTES, b"\xff" if serial[0] & 0x80 else b"\0")
    return key + _DATE_AND_REASON.pack(revoked_at, reason)


def build_index(header: IndexHeader, records: Iterable[bytes]) -> bytes:
    """Sort records from `pack_record` into an index."""
    buckets = [bytearray() for _ in range(256)]
    for record in records:
        buckets[record[0]] += record
    count = sum(map(len, buckets)) // RECORD_BYTES
    width = 2 if count >= _WIDE_FROM else 1
    sizes = [0] * 256**width
    body = bytearray(4 * len(sizes))
    for number, bucket in enumerate(buckets):
        for record in _sorted_records(bucket):
            sizes[int.from_bytes(record[:width], "big")] += 1
            body += record
        buckets[number] = bytearray()
    body[: 4 * len(sizes)] = b"".join(each.to_bytes(4, "big") for each in accumulate(sizes))
    head = _format_header(header, count, width, body)
    size, digest = len(head).to_bytes(4, "big"), hashlib.sha256(head).digest()
    return b"".join((MAGIC, size, digest, head, body))


def _sorted_records(bucket: bytearray) -> list[bytes]:
    starts = range(0, len(bucket), RECORD_BYTES)
    return sorted(bytes(bucket[at : at + RECORD_BYTES]) for at in starts)


def _format_header(header: IndexHeader, count: int, width: int, body: bytearray) -> bytes:
    fields = header._asdict() | {
        "count": count,
        "fanout": width,
        "body": hashlib.sha256(body).hexdigest(),
        "this_update": header.this_update.isoformat(),
        "next_update": header.next_update.isoformat(),
    }
    return json.dumps(fields).encode()


class SerialIndex:
    """Reads an index where it lies; a look-up touches a few of its pages.

    The constructor checks all but the records, in constant time; `is_intact` reads everything.

    Args:
        buffer: what `build_index` made, as bytes or as a memory-mapped file.

    Raises:
        CorruptIndex: it is something else, or cut short.
    """

    __slots__ = ("_body_at", "_body_digest", "_buffer", "_records_at", "_width", "count", "header")

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        size = int.from_bytes(buffer[len(MAGIC) : len(MAGIC) + 4], "big")
        text = buffer[_HEADER_AT : _HEADER_AT + size]
        digest = buffer[len(MAGIC) + 4 : _HEADER_AT]
        if buffer[: len(MAGIC)] != MAGIC or hashlib.sha256(text).digest() != digest:
            raise CorruptIndex("no index of serial numbers, or its header is damaged")
        self.header, self.count, self._width, self._body_digest = _parse_header(text)
        if self._width not in {1, 2}:
            raise CorruptIndex("an index of serial numbers of another version")
        self._body_at = _HEADER_AT + size
        self._records_at = self._body_at + 4 * 256**self._width
        if len(buffer) != self._records_at + self.count * RECORD_BYTES:
            raise CorruptIndex("an index of serial numbers cut short")

    def __len__(self) -> int:
        return self.count

    def find(self, serial: int) -> Entry | None:
        """Return the entry of a serial number, None if it is not listed."""
        try:
            key = serial.to_bytes(KEY_BYTES, "little", signed=True)
        except OverflowError:  # `pack_record` takes no such number, so none is listed
            return None
        buffer, base = self._buffer, self._records_at
        low, high = self._bounds(int.from_bytes(key[: self._width], "big"))
        while low < high:
            middle = (low + high) // 2
            at = base + middle * RECORD_BYTES
            if buffer[at : at + KEY_BYTES] < key:
                low = middle + 1
            else:
                high = middle
        at = base + low * RECORD_BYTES
        record = buffer[at : at + RECORD_BYTES]
        return _parse_entry(record) if record[:KEY_BYTES] == key else None

    def _bounds(self, first: int) -> tuple[int, int]:
        """Return where the records begin and end whose keys begin so."""
        at = self._body_at + 4 * first
        high = int.from_bytes(self._buffer[at : at + 4], "big")
        return int.from_bytes(self._buffer[at - 4 : at], "big") if first else 0, high

    def is_intact(self) -> bool:
        """Whether every byte is as it was written; reads all of them."""
        digest = hashlib.sha256()
        for at in range(self._body_at, len(self._buffer), 2**20):
            digest.update(self._buffer[at : at + 2**20])
        return digest.hexdigest() == self._body_digest


def _parse_entry(record: bytes) -> Entry:
    revoked_at = datetime.fromtimestamp(int.from_bytes(record[KEY_BYTES:-1], "big"), UTC)
    return Entry(revoked_at, REASONS.get(record[-1], "unspecified"))


def _parse_header(text: bytes) -> tuple[IndexHeader, int, int, str]:
    try:
        fields = cast("dict[str, Any]", json.loads(text))
        count, width, body = fields.pop("count"), fields.pop("fanout"), fields.pop("body")
        for key in ("this_update", "next_update"):
            fields[key] = datetime.fromisoformat(fields[key])
        fields["points"] = tuple(fields["points"])
        return IndexHeader(**fields), int(count), int(width), str(body)
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptIndex("an index of serial numbers of another version") from error
