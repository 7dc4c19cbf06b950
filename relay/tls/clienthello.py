"""The client's TLS offer, read from the wire before OpenSSL sees it.

Knows nothing of sockets or of what we would accept; it reads versions, ciphers, groups, signature
algorithms, SNI and ALPN, and names the offer by its JA4 fingerprint.
RFC 8446 4.1.2 (ClientHello), RFC 5246 7.4.1.2, RFC 6066 3 (SNI), RFC 8701 (GREASE).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final

__all__ = ["MAX_HELLO_BYTES", "ClientHello", "HelloReader", "MalformedHello"]

MAX_HELLO_BYTES: Final = 65_536
"""The longest offer we read, record headers included; post-quantum ones have about 2,000 bytes."""

_HANDSHAKE_RECORD: Final = 22
_ALERT_RECORD: Final = 21
_CLIENT_HELLO: Final = 1
_MAX_RECORD_BYTES: Final = 16_384
_FALLBACK_SCSV: Final = 0x5600  # RFC 7507
_GREASE: Final = frozenset(high << 8 | high for high in range(0x0A, 0x100, 0x10))  # RFC 8701 2
_MAX_SHARED_BYTES: Final = 4096
_SESSION_ID_AT: Final = 2 + 32  # behind the version and the random bytes
_NO_HASH: Final = "000000000000"

_EXTENSION_HEAD: Final = struct.Struct(">HH")
_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43
_HOST_NAME: Final = 0

_VERSIONS: Final = {
    0x0304: "TLSv1.3",
    0x0303: "TLSv1.2",
    0x0302: "TLSv1.1",
    0x0301: "TLSv1.0",
    0x0300: "SSLv3",
    0x0002: "SSLv2",
}
_JA4_VERSIONS: Final = {
    "TLSv1.3": "13",
    "TLSv1.2": "12",
    "TLSv1.1": "11",
    "TLSv1.0": "10",
    "SSLv3": "s3",
    "SSLv2": "s2",
}


class MalformedHello(ValueError):
    """What came is no ClientHello; the text says what it looks like."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """One offer. GREASE values (RFC 8701) are left out everywhere.

    `versions` are best first. A client without the supported_versions extension names only its
    highest version, and so do we. `server_name` is lower case, "" if none was sent. `alpn` holds
    the raw protocol names. `extensions` are the extension types in the order they came.
    """

    versions: tuple[str, ...]
    ciphers: tuple[int, ...]
    groups: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    server_name: str = ""
    alpn: tuple[bytes, ...] = ()
    extensions: tuple[int, ...] = ()
    ja4: str = field(init=False, repr=False, compare=False)
    """The JA4 fingerprint for TLS over TCP, as FoxIO defines it."""
    fallback_scsv: bool = field(init=False, repr=False, compare=False)
    """Whether the client says that it has come back with less than it can (RFC 7507)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ja4", _ja4(self))
        object.__setattr__(self, "fallback_scsv", _FALLBACK_SCSV in self.ciphers)

    @property
    def best_version(self) -> str:
        """The highest version offered; "" if we know none of them."""
        return self.versions[0] if self.versions else ""


class HelloReader:
    """Puts a ClientHello together from TLS records, however they are cut; RFC 8446 5.1.

    It keeps what it was fed (`data`), since OpenSSL must see the same bytes afterwards.
    """

    __slots__ = ("_message", "_position", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._message = bytearray()
        self._position = 0

    def feed(self, data: bytes) -> ClientHello | None:
        """Take the next bytes; return the offer once it is complete, None until then.

        Raises:
            MalformedHello: these bytes cannot become a ClientHello.
        """
        self.data += data
        while self._take_record():
            if (hello := self._finished()) is not None:
                return hello
        if len(self.data) > MAX_HELLO_BYTES:
            raise MalformedHello("a ClientHello without end")
        return None

    def _take_record(self) -> bool:
        """Move one whole record's content to the message; False if it is not all there."""
        head = self.data[self._position : self._position + 5]
        _check_record_head(head, is_first=self._position == 0)
        if len(head) < 5:
            return False
        length = head[3] << 8 | head[4]
        start = self._position + 5
        if len(self.data) < start + length:
            return False
        self._message += self.data[start : start + length]
        self._position = start + length
        return True

    def _finished(self) -> ClientHello | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise MalformedHello(f"TLS handshake message {message[0]} instead of a ClientHello")
        if len(message) < 4:
            return None
        length = int.from_bytes(message[1:4], "big")
        if length > MAX_HELLO_BYTES:
            raise MalformedHello("an oversized ClientHello")
        if len(message) < 4 + length:
            return None
        return _parse(bytes(message[4 : 4 + length]))


def _check_record_head(head: bytearray, *, is_first: bool) -> None:
    """Refuse as early as the bytes allow, with words for the log."""
    if not head:
        return
    if head[0] != _HANDSHAKE_RECORD:
        raise MalformedHello(_describe(head) if is_first else "a ClientHello broken off")
    if len(head) > 1 and head[1] != 3:
        raise MalformedHello("a record of no known TLS version")
    # RFC 8446 5.1: handshake records are never empty and never longer than 2^14.
    if len(head) == 5 and not 0 < (head[3] << 8 | head[4]) <= _MAX_RECORD_BYTES:
        raise MalformedHello("a TLS record of forbidden length")


def _describe(head: bytearray) -> str:
    if head[0] == _ALERT_RECORD:
        return "a TLS alert instead of a ClientHello"
    if head[0] & 0x80:
        return "an SSLv2 ClientHello or no TLS"
    if head[0] in b"\r\n\t" or 32 <= head[0] < 127:
        return "plain text instead of TLS"
    return "no TLS"


def _vector(data: bytes, position: int, prefix_bytes: int) -> tuple[bytes, int]:
    """Return the length-prefixed vector that starts here, and where it ends (RFC 8446 3.4)."""
    start = position + prefix_bytes
    end = start + int.from_bytes(data[position:start], "big")
    if end > len(data):
        raise MalformedHello("a ClientHello with a wrong length inside")
    return data[start:end], end


def _parse(body: bytes) -> ClientHello:
    legacy = int.from_bytes(body[:2], "big")
    session_id, end = _vector(body, _SESSION_ID_AT, 1)
    ciphers, end = _vector(body, end, 2)
    compressions, end = _vector(body, end, 1)
    if len(session_id) > 32 or not ciphers or not compressions:
        raise MalformedHello("a ClientHello with a wrong length inside")
    # RFC 5246 7.4.1.2: the block of extensions may be left out as a whole.
    extensions = {}
    if end != len(body):
        block, end = _vector(body, end, 2)
        extensions = _parse_extensions(block)
    if end != len(body):
        raise MalformedHello("a ClientHello with bytes after its end")
    read = _read_shared if len(body) <= _MAX_SHARED_BYTES else _read
    return read(legacy, ciphers, tuple(extensions), tuple(map(extensions.get, _READ_EXTENSIONS)))


_READ_EXTENSIONS: Final = (
    _SUPPORTED_VERSIONS,
    _SUPPORTED_GROUPS,
    _SIGNATURE_ALGORITHMS,
    _SERVER_NAME,
    _ALPN,
)


def _read(
    legacy: int, ciphers: bytes, extensions: tuple[int, ...], contents: tuple[bytes | None, ...]
) -> ClientHello:
    """Read all but keys, tickets and random numbers; `contents` are those of `_READ_EXTENSIONS`."""
    versions, groups, signature_algorithms, server_name, alpn = contents
    return ClientHello(
        versions=_versions(versions, legacy),
        ciphers=_numbers(ciphers),
        groups=_number_list(groups),
        signature_algorithms=_number_list(signature_algorithms),
        server_name=_server_name(server_name),
        alpn=_alpn(alpn),
        extensions=tuple([each for each in extensions if each not in _GREASE]),
    )


# Few programs speak to us, and each offers the same whenever it comes, but for its keys and its ticket:
# ten thousand connections that share their offers take 25 MB less, and reading one costs half.
_read_shared = lru_cache(maxsize=256)(_read)


def _parse_extensions(block: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position, end = 0, len(block)
    while position + 4 <= end:
        kind, length = _EXTENSION_HEAD.unpack_from(block, position)
        start = position + 4
        position = start + length
        if kind in found:  # RFC 8446 4.2
            raise MalformedHello("a ClientHello with an extension twice")
        found[kind] = block[start:position]
    if position != end:
        raise MalformedHello("a ClientHello with a wrong length inside")
    return found


def _numbers(data: bytes) -> tuple[int, ...]:
    """Read two-byte numbers, GREASE left out."""
    if len(data) % 2:
        raise MalformedHello("a ClientHello with half a number")
    numbers: tuple[int, ...] = struct.unpack(f">{len(data) // 2}H", data)
    return numbers if _GREASE.isdisjoint(numbers) else tuple(n for n in numbers if n not in _GREASE)


def _vector_of(content: bytes, prefix_bytes: int) -> bytes:
    """Unwrap an extension that is one vector and nothing else."""
    length = int.from_bytes(content[:prefix_bytes], "big")
    inner = content[prefix_bytes:]
    if len(inner) < length or len(content) < prefix_bytes:
        raise MalformedHello("a ClientHello with a wrong length inside")
    if len(inner) > length:
        raise MalformedHello("a ClientHello extension with bytes after its end")
    return inner


def _number_list(content: bytes | None) -> tuple[int, ...]:
    return () if content is None else _numbers(_vector_of(content, 2))


def _versions(content: bytes | None, legacy: int) -> tuple[str, ...]:
    if content is None:
        # RFC 8446 D.1: without the extension the old field says the highest version; what is
        # higher than TLS 1.2 there means TLS 1.2.
        return (_VERSIONS.get(min(legacy, 0x0303), "SSLv3"),)
    offered = sorted(_numbers(_vector_of(content, 1)), reverse=True)
    return tuple(_VERSIONS[each] for each in offered if each in _VERSIONS)


def _server_name(content: bytes | None) -> str:
    """The first host name of the list; RFC 6066 3 allows one per type."""
    if content is None:
        return ""
    names, end = _vector_of(content, 2), 0
    while end < len(names):
        kind = names[end]
        name, end = _vector(names, end + 1, 2)
        if kind == _HOST_NAME:
            return name.decode("ascii", "replace").lower()
    return ""


def _alpn(content: bytes | None) -> tuple[bytes, ...]:
    if content is None:
        return ()
    protocols, end = _vector_of(content, 2), 0
    found = []
    while end < len(protocols):
        name, end = _vector(protocols, end, 1)
        found.append(name)
    return tuple(found)


def _ja4(hello: ClientHello) -> str:
    ciphers, extensions = hello.ciphers, hello.extensions
    counted = sorted(f"{each:04x}" for each in extensions if each not in {_SERVER_NAME, _ALPN})
    signatures = ",".join(f"{each:04x}" for each in hello.signature_algorithms)
    offer = ",".join(counted) + (f"_{signatures}" if signatures else "")
    return (
        f"t{_JA4_VERSIONS.get(hello.best_version, '00')}"
        f"{'d' if _SERVER_NAME in extensions else 'i'}"
        f"{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}"
        f"{_ja4_alpn(hello.alpn)}"
        f"_{_ja4_hash(','.join(sorted(f'{each:04x}' for each in ciphers)))}"
        f"_{_ja4_hash(offer) if counted else _NO_HASH}"
    )


def _ja4_hash(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()[:12] if text else _NO_HASH


def _ja4_alpn(protocols: tuple[bytes, ...]) -> str:
    """First and last character of the first ALPN value, in hex if one is not alphanumeric."""
    first = next((each for each in protocols if int.from_bytes(each, "big") not in _GREASE), b"")
    if not first:
        return "00"
    ends = first[:1] + first[-1:]
    if ends.isalnum():
        return ends.decode("ascii")
    return first.hex()[0] + first.hex()[-1]
