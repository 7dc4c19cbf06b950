from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from relay.tls.clienthello import MAX_HELLO_BYTES, ClientHello, HelloReader, MalformedHello
from tests.kit.client_hello import client_hello, in_records, numbers, server_name, vector
from tests.kit.fuzz import fuzz_settings, mutated, split_at

MESSAGES = [
    client_hello(extensions=None),
    client_hello(
        ciphers=(0x0A0A, 0x1301, 0x5600),
        extensions=[
            (0, server_name(b"edge.example.org")),
            (10, vector(numbers([0x11EC, 0x1D]), 2)),
            (13, vector(numbers([0x0403, 0x0804]), 2)),
            (16, vector(vector(b"smtp", 1), 2)),
            (43, vector(numbers([0x0304, 0x0303]), 1)),
            (35, b""),
        ],
    ),
]
SEEDS = [in_records(message, size) for message in MESSAGES for size in (1, 40, 16_384)]


def outcome(pieces: list[bytes]) -> ClientHello | str | None:
    reader = HelloReader()
    for piece in pieces:
        try:
            hello = reader.feed(piece)
        except MalformedHello as error:
            return str(error)
        if hello is not None:
            assert len(hello.ja4) == 36
            return hello
    return None


@fuzz_settings()
@given(mutated(SEEDS), st.lists(st.integers(0, 2**16), max_size=8))
def test_only_the_documented_exception_escapes_however_it_is_cut(
    data: bytes, cuts: list[int]
) -> None:
    whole = outcome([data])
    assert outcome(split_at(data, cuts)) == whole
    assert outcome([data[at : at + 1] for at in range(len(data))]) == whole


@fuzz_settings()
@given(mutated(MESSAGES))
def test_damage_inside_the_message_is_read_or_refused(message: bytes) -> None:
    body = message[4:]
    assert isinstance(outcome([in_records(b"\x01" + vector(body, 3))]), ClientHello | str)


@fuzz_settings()
@given(st.binary(max_size=400))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    assert not isinstance(outcome([data]), ClientHello)


def test_memory_is_bounded_whatever_comes() -> None:
    reader, record = HelloReader(), b"\x16\x03\x01" + struct.pack(">H", 1) + b"\x01"
    try:
        while True:
            assert reader.feed(record) is None
    except MalformedHello:
        pass
    assert len(reader.data) <= MAX_HELLO_BYTES + len(record)
