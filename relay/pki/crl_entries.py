"""The entries of a CRL, one after the other, as index records: a million of them in about a second.

Knows nothing of the list around them. `cryptography` reads entries too, 2 us and some objects each
once extensions are looked at (docs/decisions/0010-crl-index.md); here the two shapes that nearly all
entries have are cut out of the bytes, and only the others are taken apart. RFC 5280 5.1.2.6 and 5.3.
"""

from __future__ import annotations

import re
from calendar import timegm
from typing import TYPE_CHECKING, Final

from relay.pki.der import (
    BOOLEAN,
    ENUMERATED,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    UTC_TIME,
    read_element,
    read_end,
    read_time,
)
from relay.pki.serial_index import KEY_BYTES, LAST_DAY, REASONS, pack_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.pki.der import Element

__all__ = ["scan_entries"]

_REASON_CODE: Final = bytes.fromhex("551d15")
_INVALIDITY_DATE: Final = bytes.fromhex("551d18")
_CERTIFICATE_ISSUER: Final = bytes.fromhex("551d1d")

_USUAL: Final = tuple(
    re.compile(
        rb"\x30[\x10-\x7f]\x02"
        + re.escape(bytes((octets,)))
        + rb"(.{%d})\x17\x0d(\d{6})([01]\d|2[0-3])([0-5]\d)([0-5]\d)Z" % octets
        + rb"(?:\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01(.))?",
        re.DOTALL,
    ).match
    for octets in range(KEY_BYTES + 1)
)
"""By the octets of its serial number: an entry with a UTCTime, and a reason code or no extension."""


def scan_entries(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """Yield a record of `serial_index.pack_record` for each entry between two places.

    Raises:
        ValueError: an entry cannot be read, or must not be understood without something that we
            do not know (a critical extension).
    """
    days: dict[bytes, int] = {}
    position = start
    while position < end:
        octets = data[position + 3] if position + 3 < end else 0
        usual = _USUAL[octets](data, position, end) if octets <= KEY_BYTES else None
        if usual is None or usual.end() != position + 2 + data[position + 1]:
            record, position = _read_entry(data, position, end)
            yield record
            continue
        serial, day, hours, minutes, seconds, reason = usual.groups()
        if day not in days:
            days[day] = _read_seconds(UTC_TIME, day + b"000000Z")
        revoked_at = days[day] + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        yield pack_record(serial, revoked_at, _known_reason(reason[0]) if reason else 0)
        position = usual.end()


def _read_entry(data: bytes, position: int, limit: int) -> tuple[bytes, int]:
    """Read one entry of any shape; return its record and where the next one begins."""
    entry = read_element(data, position, limit, SEQUENCE)
    serial = read_element(data, entry.content, entry.end, INTEGER)
    date = read_element(data, serial.end, entry.end)
    seconds = _read_seconds(date.tag, data[date.content : date.end])
    reason = 0
    if date.end != entry.end:
        extensions = read_element(data, date.end, entry.end, SEQUENCE)
        read_end(extensions, entry.end)
        reason = _read_extensions(data, extensions)
    return pack_record(data[serial.content : serial.end], seconds, reason), entry.end


def _read_seconds(tag: int, text: bytes) -> int:
    """Read a time as what fits into a record: no one hangs on when before 1970 or after 2105."""
    return min(max(timegm(read_time(tag, text).timetuple()), 0), LAST_DAY)


def _read_extensions(data: bytes, extensions: Element) -> int:
    """Return the reason; refuse what must not be passed over."""
    reason, position = 0, extensions.content
    while position < extensions.end:
        extension = read_element(data, position, extensions.end, SEQUENCE)
        position = extension.end
        kind = read_element(data, extension.content, extension.end, OBJECT_IDENTIFIER)
        value = read_element(data, kind.end, extension.end)
        is_critical = value.tag == BOOLEAN
        if is_critical:
            is_critical = data[value.content : value.end] != b"\0"
            value = read_element(data, value.end, extension.end)
        if value.tag != OCTET_STRING:
            raise ValueError("an entry extension without a value")
        read_end(value, extension.end)
        name = data[kind.content : kind.end]
        if name == _REASON_CODE:
            reason = _read_reason(data, value)
        elif name == _CERTIFICATE_ISSUER:
            raise ValueError("an entry about a certificate of another CA (indirect CRL)")
        elif is_critical and name != _INVALIDITY_DATE:
            # RFC 5280 5.3: then the list must not be used at all
            raise ValueError("an entry with a critical extension that is not known")
    return reason


def _read_reason(data: bytes, value: Element) -> int:
    code = read_element(data, value.content, value.end, ENUMERATED)
    read_end(code, value.end)
    if code.end - code.content != 1:
        raise ValueError("no reason code")
    return _known_reason(data[code.content])


def _known_reason(code: int) -> int:
    """RFC 5280 5.3.1; a code that is not assigned still revokes."""
    return code if code in REASONS else 0
