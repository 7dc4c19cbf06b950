"""A country database in MaxMind's format, made of networks and records. MaxMind DB specification 2.0."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["country_database"]

_RECORD_BITS = 24


def country_database(records: Mapping[str, Any]) -> bytes:
    """Return the bytes of a database that has these records by network."""
    root: list[Any] = [None, None]
    nodes = [root]
    data = b""
    for text, record in records.items():
        network = ip_network(text)
        # IPv4 stands at ::/96.
        bits = f"{int(network.network_address):0128b}"
        length = network.prefixlen + (96 if isinstance(network, IPv4Network) else 0)
        at = root
        for bit in map(int, bits[: length - 1]):
            if at[bit] is None:
                at[bit] = [None, None]
                nodes.append(at[bit])
            at = at[bit]
        at[int(bits[length - 1])] = len(data)
        data += _encoded(record)
    numbers = {id(node): number for number, node in enumerate(nodes)}
    tree = b"".join(
        _pointer(side, numbers, len(nodes)).to_bytes(3) for node in nodes for side in node
    )
    metadata = _encoded(
        {
            "binary_format_major_version": 2, "binary_format_minor_version": 0,
            "build_epoch": 0, "database_type": "Test-Country", "description": {}, "ip_version": 6,
            "languages": {}, "node_count": len(nodes), "record_size": _RECORD_BITS,
        }
    )  # fmt: skip
    return tree + b"\0" * 16 + data + b"\xab\xcd\xefMaxMind.com" + metadata


def _pointer(side: Any, numbers: Mapping[int, int], count: int) -> int:
    if side is None:
        return count
    return numbers[id(side)] if isinstance(side, list) else count + 16 + int(side)


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(_encoded(key) + _encoded(each) for key, each in value.items())
        return bytes([7 << 5 | len(value)]) + pairs
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    return bytes([6 << 5 | 4]) + int(value).to_bytes(4)
