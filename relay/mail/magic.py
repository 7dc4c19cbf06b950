"""What a file is by its first bytes, whatever it is called.

Only what a mail policy asks about: programs, archives, documents that can hold programs. A kind is
one word; "" is none of them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ARCHIVES", "HEAD_BYTES", "PROGRAMS", "UNLISTABLE", "kind_of"]

HEAD_BYTES: Final = 40 * 1024
"""As much is enough to know the kind: the mark of an ISO image stands behind 32 kB."""

PROGRAMS: Final = frozenset(
    {"pe", "dos", "elf", "macho", "java", "jar", "dex", "wasm", "script", "lnk", "chm"}
)
"""Kinds that a system may run."""

ARCHIVES: Final = frozenset({"zip", "gzip", "tar"})
"""Kinds that `archives` can list."""

UNLISTABLE: Final = frozenset(
    {"7z", "rar", "bzip2", "xz", "zstd", "lz4", "cab", "arj", "lzh", "ace", "iso", "vhd", "tnef"}
)
"""Kinds that hold other files and can't be listed here."""

_STARTS: Final = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty one
    (b"PK00PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"MSCF", "cab"),
    (b"\x60\xea", "arj"),
    (b"x\x9f\x3e\x22", "tnef"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhd"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rt", "rtf"),
    (b"%PDF", "pdf"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "onenote"),
    (b"\x7fELF", "elf"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"dex\n", "dex"),
    (b"\0asm", "wasm"),
    (b"#!", "script"),
    (b"L\0\0\0\x01\x14\x02\0", "lnk"),
    (b"ITSF", "chm"),
    (b"\x89PNG", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
)
_FIRST_BYTES: Final = frozenset(start[:1] for start, _ in _STARTS)
_HTML: Final = re.compile(rb"\s*<(?:!doctype\s+html|html|head|script|body|svg)\b", re.IGNORECASE)
_PDF_WITHIN: Final = 1024  # readers look for "%PDF" that far


def kind_of(head: bytes) -> str:
    """Return the kind of a file by its first HEAD_BYTES bytes (less do where it has less)."""
    if head[:1] in _FIRST_BYTES:
        for start, kind in _STARTS:
            if head.startswith(start):
                return kind
    if head[:2] in {b"MZ", b"ZM"}:
        return _dos_kind(head)
    if head.startswith(b"\xca\xfe\xba\xbe"):
        # A universal Mach-O has a small number of architectures there, Java its version.
        return "macho" if int.from_bytes(head[4:8]) < 40 else "java"
    if head[257:262] == b"ustar" or _is_old_tar(head):
        return "tar"
    if head[2:5] == b"-lh" and head[6:7] == b"-":
        return "lzh"
    if head[7:14] == b"**ACE**":
        return "ace"
    if head[32769:32774] == b"CD001":
        return "iso"
    if _HTML.match(head, 0, 512):
        return "html"
    if b"%PDF" in head[:_PDF_WITHIN]:
        return "pdf"
    return ""


def _dos_kind(head: bytes) -> str:
    """Tell a program from a text that happens to begin with "MZ"."""
    offset = int.from_bytes(head[60:64], "little")
    if len(head) >= 64 and head[offset : offset + 2] in {b"PE", b"NE", b"LE", b"LX"}:
        return "pe"
    return "" if head[:64].isascii() and head[:64].decode().isprintable() else "dos"


_TAR_CHECKSUM: Final = slice(148, 156)


def _is_old_tar(head: bytes) -> bool:
    """Whether it begins with a tar header without a mark: its checksum must be right."""
    block = head[:512]
    if len(block) < 512 or not block[0]:
        return False
    digits = block[_TAR_CHECKSUM].strip(b" \0")
    try:
        expected = int(digits, 8)
    except ValueError:
        return False
    return expected == sum(block) - sum(block[_TAR_CHECKSUM]) + 8 * ord(" ")
