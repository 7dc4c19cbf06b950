from __future__ import annotations

import pytest

from relay.tls.clienthello import MAX_HELLO_BYTES, ClientHello, HelloReader, MalformedHello
from tests.kit.client_hello import client_hello, in_records, numbers, server_name, vector

CHROME_CIPHERS = (
    0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014,
    0x009C, 0x009D, 0x002F, 0x0035,
)  # fmt: skip
CHROME_SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
CHROME_PLAIN_EXTENSIONS = (
    0x0017, 0xFF01, 0x000B, 0x0023, 0x0005, 0x0012, 0x0033, 0x002D, 0x001B, 0x4469, 0x0015,
)  # fmt: skip

VERSIONS, GROUPS, SIGNATURES, ALPN, SNI = 43, 10, 13, 16, 0


def versions(*offered: int) -> tuple[int, bytes]:
    return VERSIONS, vector(numbers(offered), 1)


def groups(*offered: int) -> tuple[int, bytes]:
    return GROUPS, vector(numbers(offered), 2)


def signatures(*offered: int) -> tuple[int, bytes]:
    return SIGNATURES, vector(numbers(offered), 2)


def alpn(*protocols: bytes) -> tuple[int, bytes]:
    return ALPN, vector(b"".join(vector(each, 1) for each in protocols), 2)


def read(message: bytes) -> ClientHello:
    hello = HelloReader().feed(in_records(message))
    assert hello is not None
    return hello


FULL = client_hello(
    ciphers=(0x1301, 0xC02F, 0x5600),
    extensions=[
        (SNI, server_name(b"Edge.Example.ORG")),
        groups(0x11EC, 0x001D, 0x0017),
        signatures(0x0403, 0x0804),
        alpn(b"smtp", b"x"),
        versions(0x0303, 0x0304),
        (35, b""),
        (41, b"psk"),
    ],
)


def test_every_part_of_the_offer_is_read() -> None:
    hello = read(FULL)
    assert hello.versions == ("TLSv1.3", "TLSv1.2")
    assert hello.ciphers == (0x1301, 0xC02F, 0x5600)
    assert hello.groups == (0x11EC, 0x001D, 0x0017)
    assert hello.signature_algorithms == (0x0403, 0x0804)
    assert hello.server_name == "edge.example.org"
    assert hello.alpn == (b"smtp", b"x")
    assert hello.extensions == (SNI, GROUPS, SIGNATURES, ALPN, VERSIONS, 35, 41)
    assert hello.fallback_scsv


def test_a_bare_offer_has_nothing_else() -> None:
    hello = read(client_hello(extensions=None))
    assert hello == ClientHello(versions=("TLSv1.2",), ciphers=(0x1301, 0xC02F))
    assert not hello.fallback_scsv


@pytest.mark.parametrize(
    ("legacy", "extension", "expected"),
    [
        (0x0303, None, ("TLSv1.2",)),
        (0x0302, None, ("TLSv1.1",)),
        (0x0301, None, ("TLSv1.0",)),
        (0x0300, None, ("SSLv3",)),
        (0x0304, None, ("TLSv1.2",)),  # RFC 8446 D.1: not to be believed
        (0x0303, (0x0302, 0x0304), ("TLSv1.3", "TLSv1.1")),
        (0x0303, (0x0A0A, 0x0304), ("TLSv1.3",)),
        (0x0303, (0x7F1C,), ()),
    ],
)
def test_versions_are_best_first(legacy: int, extension, expected) -> None:
    offered = [] if extension is None else [versions(*extension)]
    hello = read(client_hello(legacy=legacy, extensions=offered))
    assert hello.versions == expected
    assert hello.best_version == (expected[0] if expected else "")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 16_384])
def test_records_may_be_cut_anywhere(size: int) -> None:
    assert HelloReader().feed(in_records(FULL, size)) == read(FULL)


@pytest.mark.parametrize("size", [1, 7, 16_384])
def test_bytes_may_come_one_by_one(size: int) -> None:
    reader, data = HelloReader(), in_records(FULL, size)
    results = [reader.feed(data[at : at + 1]) for at in range(len(data))]
    assert results[:-1] == [None] * (len(data) - 1)
    assert results[-1] == read(FULL)
    assert bytes(reader.data) == data


def test_what_follows_the_offer_is_kept_for_openssl() -> None:
    reader = HelloReader()
    assert reader.feed(in_records(FULL) + b"\x17early") == read(FULL)
    assert bytes(reader.data).endswith(b"\x17early")


def test_a_large_post_quantum_offer_is_read() -> None:
    message = client_hello(extensions=[(51, bytes(12_000)), (21, bytes(12_000)), groups(0x11EC)])
    assert read(message).groups == (0x11EC,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"EHLO client.example\r\n", "plain text"),
        (b"\r\n", "plain text"),
        (b"\x80\x2e\x01\x00\x02", "SSLv2"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "alert"),
        (b"\x00\x00", "no TLS"),
        (b"\x16\x02", "no known TLS version"),
        (b"\x16\x03\x01\x00\x00", "forbidden length"),
        (b"\x16\x03\x01\x40\x01", "forbidden length"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "message 2"),
        (b"\x16\x03\x01\x00\x04\x01\x02\x00\x00", "oversized"),
        (in_records(FULL, 50)[:55] + b"\x17\x03\x01\x00\x01x", "broken off"),
        (in_records(client_hello(ciphers=())), "wrong length"),
        (in_records(client_hello(compressions=b"")), "wrong length"),
        (in_records(client_hello(session_id=bytes(33))), "wrong length"),
        (in_records(client_hello(extensions=[(35, b""), (35, b"")])), "twice"),
        (in_records(client_hello(extensions=[(GROUPS, b"\x00\x03\x00\x1d\x00")])), "half a number"),
        (in_records(client_hello(extensions=[(GROUPS, b"\x00\x02\x00\x1dx")])), "after its end"),
        (in_records(client_hello(extensions=[(SNI, b"\x00\x09")])), "wrong length"),
        (in_records(b"\x01\x00\x00\x02\x03\x03"), "wrong length"),
        (in_records(b"\x01" + vector(client_hello(extensions=[])[4:] + b"x", 3)), "after its end"),
        (in_records(b"\x01" + vector(client_hello(extensions=None)[4:] + vector(b"abc", 2), 3)), "wrong length"),
        (in_records(b"\x01" + vector(client_hello(extensions=None)[4:] + vector(b"\0\x0a\0\x09", 2), 3)), "wrong length"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedHello, match=reason):
        HelloReader().feed(data)


def test_an_offer_without_end_is_refused() -> None:
    endless = in_records(b"\x01\x01\x00\x00" + bytes(65_536), 8)
    reader = HelloReader()
    for at in range(0, MAX_HELLO_BYTES, 1024):
        assert reader.feed(endless[at : at + 1024]) is None
    with pytest.raises(MalformedHello, match="without end"):
        reader.feed(endless[MAX_HELLO_BYTES : MAX_HELLO_BYTES + 1])


def test_a_name_of_another_type_is_no_host_name() -> None:
    names = vector(b"\x07" + vector(b"x", 2), 2)
    assert read(client_hello(extensions=[(SNI, names)])).server_name == ""


def test_a_name_that_is_not_ascii_does_no_harm() -> None:
    assert read(client_hello(extensions=[(SNI, server_name(b"\xff.example"))])).server_name == (
        "\ufffd.example"
    )


def test_ja4_of_chrome_is_the_published_one() -> None:
    # The example of FoxIO's technical details: t13d1516h2_8daaf6152771_e5627efa2ab1.
    extensions = [
        (0x0A0A, b""),
        (SNI, server_name(b"example.org")),
        groups(0x3A3A, 0x001D),
        signatures(*CHROME_SIGNATURES),
        alpn(b"h2", b"http/1.1"),
        versions(0x5A5A, 0x0304, 0x0303),
        *((kind, b"") for kind in CHROME_PLAIN_EXTENSIONS),
        (0xFAFA, b""),
    ]
    message = client_hello(ciphers=(0xEAEA, *CHROME_CIPHERS), extensions=extensions)
    assert read(message).ja4 == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_ja4_of_nothing_has_zeros_for_hashes() -> None:
    message = client_hello(legacy=0x0301, ciphers=(0x0A0A,), extensions=None)
    assert read(message).ja4 == "t10i000000_000000000000_000000000000"


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (b"h2", "h2"),
        (b"x", "xx"),
        (b"http/1.1", "h1"),
        (b"\xab", "ab"),  # this and the next from FoxIO's table
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_ja4_shows_the_ends_of_the_first_protocol(protocol: bytes, expected: str) -> None:
    hello = read(client_hello(extensions=[alpn(b"\x0a\x0a", protocol, b"smtp")]))
    assert hello.ja4.split("_")[0].endswith(expected)


def test_ja4_counts_no_further_than_99() -> None:
    hello = read(client_hello(ciphers=range(1, 130), extensions=None))
    assert hello.ja4.startswith("t12i9900")


def test_a_program_that_comes_again_has_the_same_offer_but_for_its_keys_and_ticket() -> None:
    first, second = (
        read(client_hello(session_id=key, extensions=[versions(0x0304), (51, key), (41, key)]))
        for key in (b"one", b"two")
    )
    assert first is second


def test_an_offer_of_unusual_length_is_read_and_not_kept() -> None:
    long = client_hello(extensions=[versions(0x0304), (21, bytes(8192))])
    assert read(long) == read(long)
    assert read(long) is not read(long)


@pytest.mark.parametrize("kind", [SNI, ALPN, GROUPS, SIGNATURES, VERSIONS])
def test_an_empty_extension_is_not_taken_for_a_missing_one(kind: int) -> None:
    read(client_hello(extensions=[]))
    with pytest.raises(MalformedHello):
        read(client_hello(extensions=[(kind, b"")]))
