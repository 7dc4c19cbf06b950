from __future__ import annotations

import struct

import pytest

from relay.model import Endpoint
from relay.net.proxy_protocol import (
    MAX_HEADER_BYTES,
    MalformedProxyHeader,
    ProxyHeader,
    crc32c,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack(">HH", 51_000, 25)
IPV6 = bytes.fromhex("20010db8000000000000000000000007" "20010db8000000000000000000000001") + struct.pack(">HH", 51_000, 25)  # fmt: skip
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
V4_ENDS = (Endpoint("192.0.2.7", 51_000), Endpoint("198.51.100.1", 25))
V6_ENDS = (Endpoint("2001:db8::7", 51_000), Endpoint("2001:db8::1", 25))


def v2(block: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def with_checksum(block: bytes, *, wrong: bool = False) -> bytes:
    blank = v2(block + tlv(3, bytes(4)))
    value = crc32c(blank) ^ wrong
    return v2(block + tlv(3, value.to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 25\r\n", *V4_ENDS),
        (b"PROXY TCP6 2001:db8::7 2001:DB8:0::1 51000 25\r\n", *V6_ENDS),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Endpoint("0.0.0.0", 0), Endpoint("0.0.0.0", 0)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None, None),
        (v2(IPV4), *V4_ENDS),
        (v2(IPV4, 0x12), *V4_ENDS),
        (v2(IPV6, 0x21), *V6_ENDS),
        (v2(UNIX, 0x31), Endpoint("/run/a", 0), Endpoint("/run/b", 0)),
        (v2(b"", 0x00), None, None),
        (v2(IPV4, 0x10), None, None),
        (v2(IPV4, 0x11, command=0x20), None, None),
        (v2(b"junk that counts for nothing", 0x00, command=0x20), None, None),
        (with_checksum(IPV4), *V4_ENDS),
    ],
)
def test_good_headers_say_who_is_at_both_ends(data, source, destination) -> None:
    header = parse_proxy_header(data + b"EHLO x\r\n")
    assert header is not None
    assert (header.source, header.destination) == (source, destination)
    assert header.length == len(data)


@pytest.mark.parametrize(
    "data", [b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 25\r\n", v2(IPV6, 0x21)]
)
def test_a_header_may_come_byte_by_byte(data: bytes) -> None:
    for length in range(len(data)):
        assert parse_proxy_header(data[:length]) is None
    assert parse_proxy_header(data) is not None


def test_fields_are_kept_in_order() -> None:
    block = IPV4 + tlv(0x02, b"edge.example.org") + tlv(0x04, b"") + tlv(0xEA, b"vpc")
    assert parse_proxy_header(v2(block)) == ProxyHeader(
        *V4_ENDS, 16 + len(block), ((0x02, b"edge.example.org"), (0x04, b""), (0xEA, b"vpc"))
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"EHLO client.example\r\n", "no PROXY"),
        (b"\x16\x03\x01", "no PROXY"),
        (b"proxy TCP4 192.0.2.7 198.51.100.1 51000 25\r\n", "no PROXY"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000\r\n", "wrong form"),
        (b"PROXY TCP4  192.0.2.7 198.51.100.1 51000 25\r\n", "wrong form"),
        (b"PROXY UDP4 192.0.2.7 198.51.100.1 51000 25\r\n", "wrong form"),
        (b"PROXY \r\n", "wrong form"),
        (b"PROXY TCP4 2001:db8::7 198.51.100.1 51000 25\r\n", "wrong address"),
        (b"PROXY TCP4 192.0.2.256 198.51.100.1 51000 25\r\n", "wrong address"),
        (b"PROXY TCP4 192.0.2.\xff 198.51.100.1 51000 25\r\n", "wrong address"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", "wrong port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 051000 25\r\n", "wrong port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n", "wrong port"),
        (b"PROXY TCP4 " + b"1" * 100, "without end"),
        (v2(IPV4, command=0x11), "unknown command"),
        (v2(IPV4, command=0x22), "unknown command"),
        (v2(IPV4, 0x41), "unknown family"),
        (v2(IPV4, 0x13), "unknown family"),
        (v2(IPV4[:-1]), "too short"),
        (v2(IPV4, 0x21), "too short"),
        (v2(IPV4 + b"\x04"), "broken field"),
        (v2(IPV4 + b"\x04\x00\x05abc"), "broken field"),
        (with_checksum(IPV4, wrong=True), "wrong checksum"),
        (v2(IPV4 + tlv(3, b"abc")), "wrong checksum"),
        (SIGNATURE + b"\x21\x11\xff\xff", "oversized"),
    ],
)
def test_bad_headers_are_refused_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedProxyHeader, match=reason):
        parse_proxy_header(data)


def test_the_longest_header_is_read() -> None:
    room = MAX_HEADER_BYTES - 16 - len(IPV4) - 3
    assert parse_proxy_header(v2(IPV4 + tlv(4, bytes(room)))) is not None


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's polynomial
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4
