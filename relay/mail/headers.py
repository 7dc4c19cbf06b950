"""The header of a message, over its bytes: where it ends, which fields it has, who wrote it.

It knows the form of fields (RFC 5322 2.2, 3.6.8, with the obsolete blanks before the colon), not
what to do about them, and never changes a byte. Names are compared as the most lenient reader
behind us would: a field that might be taken for a From field is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from relay.mail.addresses import parse_address_list

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from relay.mail.mime import Structure
    from relay.model import Address, Octets

__all__ = ["MAX_HEADER_BYTES", "MAX_HEADER_LINES", "Field", "HeaderBlock", "split"]

MAX_HEADER_BYTES: Final = 256 * 1024
"""A longer header is no mail: nobody needs it, and reading it would hold up everybody else."""

MAX_HEADER_LINES: Final = 8_000
"""The same of one with more lines: each costs about a microsecond, however short it is."""

_FIELD_START = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 3.6.8, 4.5.8
_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")  # RFC 5322 2.2.3: a blank goes on
_NOT_IN_A_NAME: Final = bytes({*range(256)} - {*range(33, 127)})  # RFC 5322 2.2: printable ASCII
_END = b"\r\n\r\n"
_COPIED_BYTES: Final = 256 * 1024
_NO_CHANGES: Final[Mapping[Field, bytes]] = MappingProxyType({})


@dataclass(slots=True, eq=False)  # a message has many: a named tuple takes twice the time to make
class Field:
    """One header field: its name in lower case, and where it begins and ends, CRLF included."""

    name: bytes
    start: int
    stop: int


class HeaderBlock:
    """The header of one message.

    Attributes:
        message: the whole message, as it came.
        end: where the header ends: the offset of the empty line, or of the body if there is none.
        fields: the fields in order. A line that is none, in the middle, has the name b"".
        is_too_long: the header is longer than MAX_HEADER_BYTES or MAX_HEADER_LINES, and was not read:
            there are no `fields`.
        structure: the message's parts, once `mime.structure_of` has found them.
    """

    __slots__ = ("__weakref__", "end", "fields", "is_too_long", "message", "structure")

    def __init__(
        self, message: bytes, end: int, fields: list[Field], *, is_too_long: bool = False
    ) -> None:
        self.message = message
        self.end = end
        self.fields = fields
        self.is_too_long = is_too_long
        self.structure: Structure | None = None

    @property
    def is_separated(self) -> bool:
        """Whether fields may be put in front: else an empty line must come before the message."""
        return bool(self.fields) or not self.message or self.message.startswith(b"\r\n")

    @property
    def authors(self) -> tuple[Address, ...] | None:
        """The addresses in From; None without exactly one From field that can be read in full."""
        found = self.named(b"from")
        if len(found) != 1 or self.is_too_long:  # RFC 5322 3.6: exactly one
            return None
        return parse_address_list(self.value(found[0]))

    @property
    def received_count(self) -> int:
        """How many hops the message has taken so far (RFC 5321 6.3)."""
        return len(self.named(b"received"))

    @property
    def message_id(self) -> str:
        """The Message-ID as it stands, "" if there is none."""
        found = self.named(b"message-id")
        if not found:
            return ""
        return self.value(found[0]).encode("utf-8", "replace").decode()[:998]

    def named(self, name: bytes) -> list[Field]:
        """Return the fields of this name (given in lower case), in order."""
        return [field for field in self.fields if field.name == name]

    def value(self, field: Field) -> str:
        """Return a field's value, unfolded (RFC 5322 2.2.3); broken UTF-8 as surrogates."""
        _, _, raw = self.message[field.start : field.stop].partition(b":")
        return raw.replace(b"\r\n", b"").strip().decode("utf-8", "surrogateescape")

    def without(
        self,
        names: Collection[bytes],
        others: Collection[Field] = (),
        changes: Mapping[Field, bytes] = _NO_CHANGES,
    ) -> list[Octets]:
        """Return the message in pieces that leave fields out; as one and the same if none is there.

        Of a large message the last piece, with the body, is a view.

        Args:
            names: of fields that are left out, in lower case.
            others: more fields of this header to leave out.
            changes: what stands in the place of fields that are not left out.
        """
        pieces: list[Octets] = []
        position = 0
        for field in self.fields:
            if field.name in names or (others and field in others):
                pieces.append(self.message[position : field.start])
                position = field.stop
            elif changes and field in changes:
                pieces += (self.message[position : field.start], changes[field])
                position = field.stop
        if not position:
            return [self.message]
        is_large = len(self.message) > _COPIED_BYTES
        pieces.append((memoryview(self.message) if is_large else self.message)[position:])
        return [piece for piece in pieces if piece]


def split(message: bytes, *, is_limited: bool = True) -> HeaderBlock:
    """Find the header of a message with CRLF line ends; of any length, if that is not limited.

    A message whose first line is no header field has no header, only a body. A stray line further
    down does not end the header: readers differ there, and one of them would take the forged field
    behind it for real.
    """
    if not _FIELD_START.match(message):
        return HeaderBlock(message, 0, [])
    found = message.find(_END, 0, MAX_HEADER_BYTES if is_limited else len(message))
    end = found + 2 if found >= 0 else len(message)
    if is_limited and (end > MAX_HEADER_BYTES or message.count(b"\r\n", 0, end) > MAX_HEADER_LINES):
        return HeaderBlock(message, 0, [], is_too_long=True)
    return HeaderBlock(message, end, _fields(message[:end]))


def _fields(header: bytes) -> list[Field]:
    """Find the fields; blanks and what else is not in names falls out of them, folds before the colon too.

    Some readers trim names by their own idea of blanks (NO-BREAK SPACE, control characters), or unfold first.
    """
    fields: list[Field] = []
    start, end = 0, len(header)
    for field in _FIELD_END.split(header):
        colon = field.find(b":")
        name = field[:colon].lower() if colon >= 0 else b""
        if not name.replace(b"-", b"").isalnum():
            name = name.translate(None, _NOT_IN_A_NAME)
        stop = start + len(field) + len("\r\n")
        if stop >= end:  # the last line may have no end
            fields.append(Field(name, start, end))
            break
        fields.append(Field(name, start, stop))
        start = stop
    return fields
