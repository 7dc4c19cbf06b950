from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from relay.net.proxy_protocol import (
    MAX_HEADER_BYTES,
    MalformedProxyHeader,
    ProxyHeader,
    parse_proxy_header,
)
from tests.kit.fuzz import fuzz_settings, mutated

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SEEDS = [
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 25\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 25\r\n",
    b"PROXY UNKNOWN\r\n",
    SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 19) + bytes(12) + b"\x03\x00\x04abcd",
    SIGNATURE + struct.pack(">BBH", 0x21, 0x21, 36) + bytes(36),
    SIGNATURE + struct.pack(">BBH", 0x21, 0x31, 216) + bytes(216),
    SIGNATURE + struct.pack(">BBH", 0x20, 0x00, 0),
]


def outcome(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse_proxy_header(data)
    except MalformedProxyHeader as error:
        return str(error)


@fuzz_settings()
@given(mutated(SEEDS))
def test_a_verdict_is_final_however_the_bytes_come(data: bytes) -> None:
    """More bytes never change what fewer have shown; whole equals byte by byte."""
    whole = outcome(data)
    for length in range(min(len(data), 600)):
        early = outcome(data[:length])
        if early is not None:
            assert isinstance(early, str) == isinstance(whole, str)
            if not isinstance(early, str):
                assert early == whole
            break


@fuzz_settings()
@given(st.binary(max_size=300))
def test_garbage_raises_only_what_is_documented(data: bytes) -> None:
    outcome(data)
    outcome(SIGNATURE + data)
    outcome(b"PROXY " + data)


@fuzz_settings()
@given(mutated(SEEDS))
def test_a_header_is_bounded(data: bytes) -> None:
    header = outcome(data + bytes(MAX_HEADER_BYTES))
    assert header is not None
    if isinstance(header, ProxyHeader):
        assert header.length <= MAX_HEADER_BYTES
