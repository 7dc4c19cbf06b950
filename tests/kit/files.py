"""Files as mail carries them, made on the fly: archives, programs by their first bytes, messages."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ELF",
    "LNK",
    "OLE",
    "PE",
    "gzipped",
    "message_with",
    "overlapping_zip",
    "tarred",
    "with_encryption_flags",
    "zipped",
]

PE = b"MZ" + b"\0" * 58 + struct.pack("<I", 64) + b"PE\0\0" + b"\0" * 60
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 57
LNK = b"L\0\0\0\x01\x14\x02\0" + b"\0" * 68
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504


def zipped(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # of 1980, so that it is the same each time
            info.compress_type = method
            archive.writestr(info, data)
    return file.getvalue()


def with_encryption_flags(archive: bytes) -> bytes:
    """The same zip archive, its files said to be encrypted in both headers."""
    changed = bytearray(archive)
    for mark, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = archive.find(mark)
        while at >= 0:
            changed[at + flags_at] |= 1
            at = archive.find(mark, at + 4)
    return bytes(changed)


def overlapping_zip(count: int, kernel: bytes) -> bytes:
    """A zip archive of many entries that all are the same bytes, as in the bombs without recursion."""
    plain = zipped({"kernel": kernel})
    directory_at = plain.index(b"PK\x01\x02")
    end_at = plain.index(b"PK\x05\x06")
    entry = plain[directory_at:end_at]
    said = min(count, 0xFFFF)
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, said, said, len(entry) * count, directory_at, 0
    )
    return plain[:directory_at] + entry * count + end


def tarred(members: Mapping[str, bytes], *, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def gzipped(data: bytes, name: str = "") -> bytes:
    """A gzip archive, with the name in it if there is one."""
    file = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=file, mtime=0) as archive:
        archive.write(data)
    return file.getvalue()


def message_with(files: Mapping[str, bytes], *, text: bytes = b"See the files.\r\n") -> bytes:
    """A message that carries these files, base64."""
    parts = [b"Content-Type: text/plain\r\n\r\n" + text]
    for name, data in files.items():
        encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
        parts.append(
            b"Content-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64\r\n"
            b'Content-Disposition: attachment; filename="%s"\r\n\r\n%s' % (name.encode(), encoded)
        )
    body = b"".join(b"--frontier\r\n%s\r\n" % part for part in parts)
    return (
        b"From: alice@example.org\r\nTo: bob@example.net\r\nSubject: files\r\n"
        b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=frontier\r\n\r\n"
        + body
        + b"--frontier--\r\n"
    )
