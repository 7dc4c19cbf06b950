"""Builds ClientHello messages byte by byte, good and bad ones, without any TLS library (RFC 8446 4.1.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["client_hello", "in_records", "numbers", "server_name", "vector"]


def vector(content: bytes, prefix_bytes: int) -> bytes:
    """Put the length in front."""
    return len(content).to_bytes(prefix_bytes, "big") + content


def numbers(values: Iterable[int]) -> bytes:
    """Two bytes each."""
    return b"".join(struct.pack(">H", value) for value in values)


def server_name(name: bytes) -> bytes:
    """The content of a server_name extension (RFC 6066 3)."""
    return vector(b"\0" + vector(name, 2), 2)


def client_hello(
    *,
    legacy: int = 0x0303,
    ciphers: Sequence[int] = (0x1301, 0xC02F),
    extensions: Sequence[tuple[int, bytes]] | None = (),
    session_id: bytes = b"",
    compressions: bytes = b"\0",
) -> bytes:
    """Make the handshake message; `extensions` None leaves the whole block out."""
    body = struct.pack(">H", legacy) + bytes(32) + vector(session_id, 1)
    body += vector(numbers(ciphers), 2) + vector(compressions, 1)
    if extensions is not None:
        body += vector(b"".join(numbers([kind]) + vector(c, 2) for kind, c in extensions), 2)
    return b"\x01" + vector(body, 3)


def in_records(message: bytes, size: int = 16_384, version: int = 0x0301) -> bytes:
    """Cut a handshake message into TLS records of at most `size` bytes."""
    cuts = range(0, len(message), size)
    return b"".join(
        b"\x16" + struct.pack(">H", version) + vector(message[at : at + size], 2) for at in cuts
    )
