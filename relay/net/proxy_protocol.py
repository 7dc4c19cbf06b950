"""The PROXY protocol header, versions 1 and 2: which client a load balancer speaks for.

A pure parser: it knows no sockets, and not whom to believe (`listener.py` asks only named networks).
HAProxy's proxy-protocol.txt, 2.1 (version 1), 2.2 (version 2); CRC32C as in RFC 3720 B.4.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from relay.model import Endpoint

__all__ = [
    "MAX_HEADER_BYTES",
    "MalformedProxyHeader",
    "ProxyHeader",
    "crc32c",
    "parse_proxy_header",
]

MAX_HEADER_BYTES: Final = 4096
"""The longest header we read; the specification allows more only for vendors' own fields."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1_START: Final = b"PROXY "
_V1_MAX_BYTES: Final = 107
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_CRC32C_TLV: Final = 0x03
_ADDRESS_BYTES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
"""Length of the address block by family: none, IPv4, IPv6, Unix."""


class MalformedProxyHeader(ValueError):
    """What came is no PROXY protocol header; the text says why."""


class ProxyHeader(NamedTuple):
    """A header: both ends of the connection that the proxy has accepted.

    Both are None if the proxy speaks for itself (LOCAL) or cannot tell (UNKNOWN, unspecified).
    `tlvs` are the type-length-value fields of version 2, in their order.
    """

    source: Endpoint | None
    destination: Endpoint | None
    length: int
    tlvs: tuple[tuple[int, bytes], ...] = ()


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the start of `data`; None if more bytes are needed.

    `length` of the result says where the connection's own bytes begin.

    Raises:
        MalformedProxyHeader: these bytes do not begin with a header, nor can they ever.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[: len(_V1_START)] == _V1_START[: len(data)]:
        return _parse_v1(data)
    raise MalformedProxyHeader("no PROXY protocol header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_MAX_BYTES)
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise MalformedProxyHeader("a version 1 header without end")
        return None
    fields = data[:end].split(b" ")
    length = end + 2
    if fields[1] == b"UNKNOWN":  # what follows it is to be ignored
        return ProxyHeader(None, None, length)
    if len(fields) != 6 or fields[1] not in {b"TCP4", b"TCP6"}:
        raise MalformedProxyHeader("a version 1 header of the wrong form")
    _, family, source, destination, source_port, destination_port = fields
    is_v6 = family == b"TCP6"
    return ProxyHeader(
        Endpoint(_address(source, is_v6=is_v6), _port(source_port)),
        Endpoint(_address(destination, is_v6=is_v6), _port(destination_port)),
        length,
    )


def _address(text: bytes, *, is_v6: bool) -> str:
    try:
        readable = text.decode("ascii")
        return str(IPv6Address(readable) if is_v6 else IPv4Address(readable))
    except ValueError:
        raise MalformedProxyHeader("a version 1 header with a wrong address") from None


def _port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise MalformedProxyHeader("a version 1 header with a wrong port")
    return int(text)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family_protocol, size = struct.unpack_from(">BBH", data, 12)
    command, family, protocol = version_command & 0x0F, family_protocol >> 4, family_protocol & 0x0F
    if version_command >> 4 != 2 or command > 1:
        raise MalformedProxyHeader("a version 2 header with an unknown command")
    if family not in _ADDRESS_BYTES or protocol > 2:
        raise MalformedProxyHeader("a version 2 header with an unknown family")
    length = 16 + size
    if length > MAX_HEADER_BYTES:
        raise MalformedProxyHeader("an oversized version 2 header")
    if len(data) < length:
        return None
    if command == 0 or family == 0 or protocol == 0:  # LOCAL or unspecified: nothing in it counts
        return ProxyHeader(None, None, length)
    block = data[16:length]
    addresses = _ADDRESS_BYTES[family]
    if len(block) < addresses:
        raise MalformedProxyHeader("a version 2 header too short for its addresses")
    tlvs = _tlvs(block[addresses:])
    _check_crc32c(data[:length], tlvs, start=16 + addresses)
    return ProxyHeader(*_endpoints(family, block), length, tlvs)


def _endpoints(family: int, block: bytes) -> tuple[Endpoint, Endpoint]:
    if family == 3:
        return _unix_endpoint(block[:108]), _unix_endpoint(block[108:216])
    size = 4 if family == 1 else 16
    source, destination = block[:size], block[size : 2 * size]
    ports = struct.unpack_from(">HH", block, 2 * size)
    number = IPv4Address if family == 1 else IPv6Address
    return Endpoint(str(number(source)), ports[0]), Endpoint(str(number(destination)), ports[1])


def _unix_endpoint(path: bytes) -> Endpoint:
    return Endpoint(path.rstrip(b"\0").decode("utf-8", "backslashreplace"), 0)


def _tlvs(block: bytes) -> tuple[tuple[int, bytes], ...]:
    found, position = [], 0
    while position < len(block):
        if position + 3 > len(block):
            raise MalformedProxyHeader("a version 2 header with a broken field")
        kind, size = struct.unpack_from(">BH", block, position)
        position += 3 + size
        if position > len(block):
            raise MalformedProxyHeader("a version 2 header with a broken field")
        found.append((kind, block[position - size : position]))
    return tuple(found)


def _check_crc32c(header: bytes, tlvs: tuple[tuple[int, bytes], ...], *, start: int) -> None:
    """Check the checksum field, if there is one: it covers the header with itself as zeros."""
    position = start
    for kind, value in tlvs:
        position += 3
        if kind == _CRC32C_TLV:
            zeroed = header[:position] + bytes(len(value)) + header[position + len(value) :]
            if len(value) != 4 or crc32c(zeroed) != int.from_bytes(value, "big"):
                raise MalformedProxyHeader("a version 2 header with a wrong checksum")
        position += len(value)


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C_TABLE: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum; headers are short, so a table in Python is fast enough."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
