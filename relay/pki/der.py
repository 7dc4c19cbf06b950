"""DER, as far as we read it ourselves: the elements of a buffer, strictly and without copies.

Knows nothing of what the elements mean. `cryptography` reads certificates; this is for what must be
read in pieces because it is large (revocation lists). X.690 8.1 and 10.1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

__all__ = [
    "BIT_STRING",
    "BOOLEAN",
    "ENUMERATED",
    "GENERALIZED_TIME",
    "INTEGER",
    "OBJECT_IDENTIFIER",
    "OCTET_STRING",
    "SEQUENCE",
    "UTC_TIME",
    "Element",
    "read_element",
    "read_end",
    "read_time",
    "wrap",
]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30


class Element(NamedTuple):
    """One element by its places: header at `start`, content from `content` to `end`."""

    tag: int
    start: int
    content: int
    end: int


def read_element(data: bytes, position: int, limit: int, tag: int | None = None) -> Element:
    """Read the header of the element at `position`; it must end at `limit` or before.

    Raises:
        ValueError: there is none, it is not DER, or its tag is not `tag`.
    """
    if position + 2 > limit:
        raise ValueError("cut short")
    found, size = data[position], data[position + 1]
    if found & 0x1F == 0x1F:
        raise ValueError("a tag of several bytes")
    content = position + 2
    if size & 0x80:
        digits = size & 0x7F
        size = int.from_bytes(data[content : content + digits], "big")
        content += digits
        # X.690 10.1: definite, and in as few bytes as will do
        if not 1 <= digits <= 8 or size < 0x80 or size.bit_length() <= 8 * (digits - 1):
            raise ValueError("a length that is not DER")
    if content + size > limit:
        raise ValueError("cut short")
    if tag is not None and found != tag:
        raise ValueError(f"tag {found:#04x} where {tag:#04x} belongs")
    return Element(found, position, content, content + size)


def read_end(element: Element, limit: int) -> None:
    """Make sure that an element is the last one of what ends at `limit`. Raises ValueError."""
    if element.end != limit:
        raise ValueError("more than belongs there")


def read_time(tag: int, text: bytes) -> datetime:
    """Read the content of a UTCTime or a GeneralizedTime (RFC 5280 4.1.2.5). Raises ValueError."""
    digits = text[:-1]
    expected = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(tag)
    if len(digits) != expected or not digits.isdigit() or text[-1:] != b"Z":
        raise ValueError("no time of RFC 5280")
    if tag == UTC_TIME:
        digits = (b"19" if digits >= b"50" else b"20") + digits
    fields = [int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))]
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc,arg-type]


def wrap(tag: int, *contents: bytes) -> bytes:
    """Put contents, joined, into one element."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content
