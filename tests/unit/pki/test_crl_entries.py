from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from relay.pki.crl import parse_crl
from relay.pki.crl_entries import scan_entries
from relay.pki.serial_index import Entry, IndexHeader, SerialIndex, build_index
from tests.kit.pki import Authority
from tests.kit.revocation import make_crl, to_der

THEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HEADER = IndexHeader("", "", THEN, THEN + timedelta(days=1))
UTC_STAMP = to_der(0x17, b"260304050607Z")
LONG_STAMP = to_der(0x18, b"20260304050607Z")


def serial(number: int, octets: int = 0) -> bytes:
    size = octets or number.bit_length() // 8 + 1
    return to_der(0x02, number.to_bytes(size, "big", signed=True))


def extension(oid: str, value: bytes, critical: bytes = b"") -> bytes:
    return to_der(0x30, to_der(0x06, bytes.fromhex(oid)), critical, to_der(0x04, value))


def reason(code: int, critical: bytes = b"") -> bytes:
    return extension("551d15", to_der(0x0A, bytes((code,))), critical)


CRITICAL = b"\x01\x01\xff"
NOT_CRITICAL = b"\x01\x01\x00"
INVALIDITY = extension("551d18", LONG_STAMP)
FOREIGN = extension("2a0304", b"\x05\x00")


def scan(*entries: bytes) -> SerialIndex:
    data = b"before" + b"".join(entries) + b"behind"
    return SerialIndex(build_index(HEADER, scan_entries(data, 6, len(data) - 6)))


def entry(*parts: bytes, number: int = 77, stamp: bytes = UTC_STAMP) -> bytes:
    extensions = to_der(0x30, *parts) if parts else b""
    return to_der(0x30, serial(number), stamp, extensions)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (entry(), "unspecified"),
        (entry(stamp=LONG_STAMP), "unspecified"),
        (entry(reason(1)), "keyCompromise"),
        (entry(reason(1), stamp=LONG_STAMP), "keyCompromise"),
        (entry(reason(8)), "removeFromCRL"),
        (entry(reason(6, CRITICAL)), "certificateHold"),
        (entry(reason(4, NOT_CRITICAL)), "superseded"),
        (entry(INVALIDITY), "unspecified"),
        (entry(INVALIDITY, reason(3)), "affiliationChanged"),
        (entry(reason(3), INVALIDITY), "affiliationChanged"),
        (entry(FOREIGN, reason(5)), "cessationOfOperation"),
        (entry(extension("2a0304", bytes(200)), reason(9)), "privilegeWithdrawn"),
        (entry(reason(7)), "unspecified"),
        (entry(reason(99), INVALIDITY), "unspecified"),
    ],
)
def test_an_entry_of_any_shape(data, word):
    assert scan(data).find(77) == Entry(THEN, word)


@pytest.mark.parametrize("octets", range(1, 22))
def test_serial_numbers_of_any_length(octets):
    number = 2 ** (8 * octets - 1) - 5
    assert scan(to_der(0x30, serial(number, octets), UTC_STAMP)).find(number)


@pytest.mark.parametrize("number", [0, -1, -(2**100), 127, 128, 255, 256])
def test_unusual_serial_numbers(number):
    index = scan(entry(number=number))
    assert index.find(number)
    assert not index.find(number + 1)


def test_usual_and_unusual_entries_in_any_order():
    entries = [
        entry(number=number, stamp=LONG_STAMP if number % 3 else UTC_STAMP)
        if number % 2
        else entry(reason(1), number=number)
        for number in range(1000, 1200)
    ]
    index = scan(*entries)
    assert len(index) == 200
    assert all(index.find(number) for number in range(1000, 1200))


def test_no_entries():
    assert len(scan()) == 0


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        (to_der(0x17, b"500101000000Z"), datetime(1970, 1, 1, tzinfo=UTC)),
        (to_der(0x18, b"99991231235959Z"), datetime(2106, 2, 6, tzinfo=UTC)),
        (to_der(0x17, b"491231235959Z"), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_dates_out_of_range_are_clamped_and_still_revoke(stamp, moment):
    assert scan(entry(stamp=stamp)).find(77).revoked_at == moment


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (entry(extension("2a0304", b"\x05\x00", CRITICAL)), "critical extension"),
        (entry(reason(1), extension("2a0304", b"\x05\x00", CRITICAL)), "critical extension"),
        (entry(extension("551d1d", to_der(0x30))), "another CA"),
        (entry(extension("551d1d", to_der(0x30), CRITICAL)), "another CA"),
        (to_der(0x30, serial(2**175), UTC_STAMP), "more than 20 octets"),
        (to_der(0x30, to_der(0x02), UTC_STAMP), "more than 20 octets"),
        (to_der(0x30, serial(1), UTC_STAMP, to_der(0x04)), "0x04 where"),
        (to_der(0x30, serial(1), UTC_STAMP, to_der(0x30), b"\0\0"), "more than belongs"),
        (to_der(0x30, serial(1), to_der(0x17, b"260230000000Z")), "day"),
        (to_der(0x30, serial(1), to_der(0x17, b"260304250000Z")), "hour"),
        (to_der(0x30, serial(1), to_der(0x17, b"2603040506Z")), "no time"),
        (to_der(0x30, serial(1)), "cut short"),
        (to_der(0x30), "cut short"),
        (to_der(0x31, serial(1), UTC_STAMP), "where"),
        (b"\x30", "cut short"),
        (entry()[:-1], "cut short"),
        (entry(reason(1))[:-1], "cut short"),
        (entry(extension("551d15", to_der(0x0A, b"\0\1"))), "no reason code"),
        (entry(extension("551d15", to_der(0x0A, b"\1") + b"\0")), "more than belongs"),
        (entry(extension("551d15", to_der(0x0A, b"\1")) + b"\x30"), "cut short"),
        (entry(to_der(0x30, to_der(0x06, b"\x55"), to_der(0x05))), "without a value"),
    ],
)
def test_entries_that_cannot_be_believed(data, problem):
    with pytest.raises(ValueError, match=problem):
        scan(entry(number=5), data)


def test_agrees_with_cryptography_on_every_reason():
    words = [each for each in x509.ReasonFlags if each is not x509.ReasonFlags.unspecified]
    data = make_crl(Authority(), [(number + 1, word.value) for number, word in enumerate(words)])
    index = SerialIndex(build_index(HEADER, parse_crl(data).records()))
    for each in x509.load_der_x509_crl(data):
        word = each.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert index.find(each.serial_number) == Entry(each.revocation_date_utc, word.value)
