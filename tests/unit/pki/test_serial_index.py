from __future__ import annotations

import mmap
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.pki.serial_index import (
    LAST_DAY,
    REASONS,
    CorruptIndex,
    Entry,
    IndexHeader,
    SerialIndex,
    build_index,
    pack_record,
)

THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEADER = IndexHeader(
    issuer_name="aa" * 32,
    issuer_key="bb" * 32,
    this_update=THEN,
    next_update=THEN + timedelta(days=7),
    number=2**150,
    base_number=None,
    only="user",
    points=("uri:http://ca.example/1.crl", "dir:CN=part"),
)


def octets(serial: int) -> bytes:
    """A number as DER has it."""
    return serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)


def index_of(*serials: int) -> SerialIndex:
    return SerialIndex(build_index(HEADER, (pack_record(octets(each), 0, 0) for each in serials)))


serial_numbers = st.one_of(
    st.integers(min_value=1 - 2**167, max_value=2**167 - 1),
    st.integers(min_value=-300, max_value=300),
)


@given(st.sets(serial_numbers, max_size=60), st.sets(serial_numbers, max_size=30))
def test_finds_what_is_listed_and_nothing_else(listed, others):
    index = index_of(*listed)
    assert len(index) == len(listed)
    assert {each for each in listed | others if index.find(each) is not None} == listed


@pytest.mark.parametrize(
    "step", [1, 256, 65536, 2**140], ids=["counted", "low byte", "two low bytes", "high"]
)
def test_numbers_however_a_ca_chooses_them(step):
    """The fan-out must be right also where all keys begin alike."""
    serials = [number * step for number in range(1, 400)]
    index = index_of(*serials)
    assert all(index.find(each) for each in serials)
    assert not any(index.find(each + 1) for each in serials if each + 1 not in serials)


def test_a_large_list_has_the_wide_fanout_and_finds_the_same():
    serials = [number * 7919 for number in range(70_000)]
    index = index_of(*serials)
    assert index.is_intact()
    assert all(index.find(each) for each in serials[::101])
    assert not any(index.find(each + 1) for each in serials[::101])


def test_negative_numbers_are_not_their_positive_look_alikes():
    index = index_of(-128)
    assert index.find(-128)
    assert not index.find(128)
    assert not index.find(2**168 - 128)


@pytest.mark.parametrize("serial", [2**167, -(2**167) - 1, 2**2000])
def test_a_number_too_long_to_be_listed_is_not_listed(serial):
    assert index_of(1).find(serial) is None
    with pytest.raises(ValueError):
        pack_record(octets(serial), 0, 0)


def test_an_entry_keeps_date_and_reason():
    for code, reason in REASONS.items():
        index = SerialIndex(
            build_index(HEADER, [pack_record(b"\x05", int(THEN.timestamp()), code)])
        )
        assert index.find(5) == Entry(THEN, reason)


def test_of_two_entries_the_earlier_counts():
    records = [pack_record(b"\x05", 2000, 4), pack_record(b"\x05", 1000, 1)]
    entry = SerialIndex(build_index(HEADER, records)).find(5)
    assert entry == Entry(datetime.fromtimestamp(1000, UTC), "keyCompromise")


def test_the_last_day_fits():
    index = SerialIndex(build_index(HEADER, [pack_record(b"\x05", LAST_DAY + 86399, 0)]))
    assert index.find(5).revoked_at.year == 2106


def test_the_header_comes_back_as_it_was():
    assert index_of().header == HEADER
    plain = IndexHeader("a", "b", THEN, THEN)
    assert SerialIndex(build_index(plain, [])).header == plain


def test_an_empty_list_lists_nothing():
    assert len(index_of()) == 0
    assert index_of().find(0) is None


def test_reads_a_mapped_file(tmp_path):
    path = tmp_path / "ca.index"
    path.write_bytes(build_index(HEADER, [pack_record(octets(77), 1000, 1)]))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        index = SerialIndex(mapped)
        assert index.is_intact()
        assert index.find(77) == Entry(datetime.fromtimestamp(1000, UTC), "keyCompromise")
        assert index.find(78) is None


WHOLE = build_index(HEADER, [pack_record(octets(each), 1000, 1) for each in range(50)])


def test_whatever_byte_is_damaged_it_shows():
    assert SerialIndex(WHOLE).is_intact()
    for place in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 0x40
        try:
            assert not SerialIndex(bytes(damaged)).is_intact()
        except CorruptIndex:
            continue


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"GPSERIAL",
        WHOLE[:100],
        WHOLE[:-1],
        WHOLE + b"\0",
        b"X" + WHOLE[1:],
        WHOLE[:12] + WHOLE,
    ],
)
def test_what_is_no_whole_index_is_refused(bad):
    with pytest.raises(CorruptIndex):
        SerialIndex(bad)


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"{}", b"{", b'{"count":0,"fanout":1,"body":""}', b"\xff"],
)
def test_a_header_of_another_version_is_refused(header):
    import hashlib

    head = b"GPSERIAL" + len(header).to_bytes(4, "big") + hashlib.sha256(header).digest() + header
    with pytest.raises(CorruptIndex, match="version"):
        SerialIndex(head + bytes(2048))


def test_a_fanout_of_another_width_is_refused():
    import hashlib

    size = int.from_bytes(WHOLE[8:12], "big")
    header = WHOLE[44 : 44 + size].replace(b'"fanout": 1', b'"fanout": 9')
    with pytest.raises(CorruptIndex, match="version"):
        SerialIndex(WHOLE[:12] + hashlib.sha256(header).digest() + header + WHOLE[44 + size :])
