"""The files that a message carries, and those in them: what they are called and what they are.

It looks into zip, tar and gzip archives and into Office documents, within the limits it is given, and
reports; it does not judge. A name is what readers may see of it: all names of a part, and the names
in archives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mail import mime
from relay.mail.archives import (
    Allowance,
    Listing,
    list_gzip,
    list_tar,
    list_zip,
    unpack,
    unpack_gzip,
)
from relay.mail.magic import ARCHIVES, HEAD_BYTES, UNLISTABLE, kind_of

if TYPE_CHECKING:
    from relay.mail.archives import Member
    from relay.mail.mime import Part, Structure

__all__ = ["FileLimits", "Files", "extension_of", "files_of", "is_file"]

_MEMBER_HEAD_BYTES: Final = 4096
_OLE_VBA: Final = "_VBA_PROJECT".encode("utf-16-le")
_OLE_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_MACRO_MEMBER: Final = re.compile(
    r"(?:^|[/\\])(?:vbaProject\.bin|vbaData\.xml)\Z|^xl[/\\]macrosheets[/\\]", re.IGNORECASE
)
_ODF_MACRO_FOLDER: Final = "Basic/"
_LOOKED_INTO: Final = ARCHIVES | {"ole"}
_ZIP_MARKS: Final = (
    (b"[Content_Types].xml", "ooxml"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "odf"),
    (b"META-INF/MANIFEST.MF", "jar"),
)
_DOCUMENTS: Final = frozenset({"ooxml", "odf"})
_ZIPS: Final = _DOCUMENTS | {"zip", "jar"}
_INNARDS: Final = frozenset(
    {"", "xml", "rels", "vml", "bin", "rdf", "png", "jpg", "jpeg", "gif", "emf", "wmf", "svg"}
)
"""Extensions of what a document consists of: nobody wants to see those names."""


class FileLimits(NamedTuple):
    """How far archives are looked into, for one message."""

    depth: int = 3
    entries: int = 2000
    unpacked_bytes: int = 32 * 1024**2
    bomb_ratio: int = 100
    bomb_bytes: int = 100 * 1024**2


@dataclass(slots=True)
class Files:
    """What was found.

    `names` has each name once, in order; `kinds` are words of `magic`, and "ooxml", "odf" and "jar"
    for archives that are documents or programs. `named_kinds` says which name has which kind;
    `unlistable` are the names of what could not be looked into in full.
    """

    count: int = 0
    names: dict[str, None] = field(default_factory=dict)
    kinds: dict[str, None] = field(default_factory=dict)
    named_kinds: list[tuple[str, str]] = field(default_factory=list)
    unlistable: dict[str, None] = field(default_factory=dict)
    has_encrypted: bool = False
    has_macro: bool = False
    is_bomb: bool = False


def is_file(part: Part) -> bool:
    """Whether readers offer a part as a file, rather than show it as text."""
    return part.is_attachment or not part.type.startswith("text/")


def files_of(message: bytes, structure: Structure, limits: FileLimits) -> Files:
    """Look at the files of a message."""
    inspection = _Inspection(limits)
    inspection.take_parts(message, structure, 0)
    return inspection.found


def extension_of(name: str) -> str:
    """Return the last extension in lower case, as Windows sees it: without blanks and dots behind it."""
    base = re.split(r"[/\\]", name.rstrip(". \0"))[-1]
    stem, dot, extension = base.rpartition(".")
    return extension.strip().lower() if dot and stem else ""


class _Inspection:
    def __init__(self, limits: FileLimits) -> None:
        self.found = Files()
        self._limits = limits
        self._allowance = Allowance(limits.entries, limits.unpacked_bytes)
        self._promised_bytes = 0  # what all files would be, unpacked

    def take_parts(self, message: bytes, structure: Structure, depth: int) -> None:
        for part in structure.parts:
            if not is_file(part):
                continue
            self.found.count += depth == 0
            names = part.names or ("",)
            head = mime.content(message, part, HEAD_BYTES)
            kind = kind_of(head)
            data = mime.content(message, part, len(message)) if kind in _LOOKED_INTO else head
            kind = _refined(kind, data)
            for name in names:
                self._note(name, kind)
            self._look_into(names[0], kind, data, depth)
            if part.type == "message/rfc822" and depth < self._limits.depth:
                # Encoded, which it may not be (RFC 2045 6.4): readers decode it and show it.
                inner = mime.content(message, part, len(message))
                self.take_parts(inner, mime.read_structure(inner), depth + 1)
        self._weigh(self._promised_bytes, len(message))

    def _note(self, name: str, kind: str) -> None:
        found = self.found
        if name:
            found.names[name] = None
        if kind:
            found.kinds[kind] = None
            found.named_kinds.append((name, kind))
        if kind in UNLISTABLE:
            found.unlistable[name or kind] = None

    def _look_into(self, name: str, kind: str, data: bytes, depth: int) -> None:
        if kind == "ole":
            self.found.has_macro |= _OLE_VBA in data
            self.found.has_encrypted |= _OLE_ENCRYPTED in data
        elif kind not in _ZIPS | {"gzip", "tar"}:
            return
        elif depth >= self._limits.depth:
            self.found.unlistable[name or kind] = None
        elif kind == "gzip":
            self._look_into_gzip(name, data, depth)
        else:
            lister = list_tar if kind == "tar" else list_zip
            listing = lister(data, self._allowance)
            self._look_into_members(name, kind, data, listing, depth)
        if self._allowance.unpacked_bytes <= 0:
            self._weigh_all(len(data))

    def _look_into_gzip(self, name: str, data: bytes, depth: int) -> None:
        member = list_gzip(data, name)
        self._weigh(member.size_bytes, len(data))
        before = self._allowance.unpacked_bytes
        inner = self._spend(unpack_gzip(data, before))
        self._weigh(len(inner), len(data))
        if not inner or len(inner) == before:
            self.found.unlistable[name or "gzip"] = None
        self._take(member.name, inner, depth)

    def _look_into_members(
        self, name: str, kind: str, data: bytes, listing: Listing, depth: int
    ) -> None:
        self._weigh(sum(member.size_bytes for member in listing.members), len(data))
        if listing.has_overlaps:
            self.found.is_bomb = True
        if not listing.is_whole:
            self.found.unlistable[name or "archive"] = None
        is_document = kind in _DOCUMENTS
        for member in listing.members:
            is_innards = is_document and extension_of(member.name) in _INNARDS
            if kind == "odf" and member.name.startswith(_ODF_MACRO_FOLDER):
                self.found.has_macro = True
            self._take_member(data, member, depth, is_named=not is_innards)

    def _take_member(self, data: bytes, member: Member, depth: int, *, is_named: bool) -> None:
        found = self.found
        found.has_encrypted |= member.is_encrypted
        found.has_macro |= _MACRO_MEMBER.search(member.name) is not None
        room = self._allowance.unpacked_bytes
        head = self._spend(unpack(data, member, min(room, _MEMBER_HEAD_BYTES)))
        if len(head) > member.size_bytes or room <= 0:
            found.unlistable[member.name] = None  # longer than it says, or not looked at
        kind = kind_of(head)
        if kind in _LOOKED_INTO:
            inner = self._spend(unpack(data, member, self._allowance.unpacked_bytes))
            self._weigh(len(inner), member.packed_bytes)
            if len(inner) < member.size_bytes:
                found.unlistable[member.name] = None
            self._take(member.name, inner, depth)
        else:
            self._promised_bytes += member.size_bytes
            self._note(member.name if is_named else "", kind)

    def _take(self, name: str, data: bytes, depth: int) -> None:
        kind = _refined(kind_of(data[:HEAD_BYTES]), data)
        self._note(name, kind)
        self._look_into(name, kind, data, depth + 1)

    def _spend(self, data: bytes) -> bytes:
        self._allowance.unpacked_bytes -= len(data)
        return data

    def _weigh(self, size_bytes: int, packed_bytes: int) -> None:
        limits = self._limits
        if size_bytes > limits.bomb_bytes and size_bytes > packed_bytes * limits.bomb_ratio:
            self.found.is_bomb = True

    def _weigh_all(self, packed_bytes: int) -> None:
        """Once nothing more may be unpacked: was it the message that was so large, or the ratio?"""
        if self._limits.unpacked_bytes > packed_bytes * self._limits.bomb_ratio:
            self.found.is_bomb = True


def _refined(kind: str, data: bytes) -> str:
    """Tell documents and programs that are zip archives from plain ones."""
    if kind == "zip":
        for mark, refined in _ZIP_MARKS:
            if mark in data:
                return refined
    return kind
