"""Revocation lists and their index: only the documented exceptions; nothing forged is believed."""

from datetime import timedelta

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from relay.pki.certificate import PARSE_FAULTS
from relay.pki.crl import MalformedCrl, check_crl, index_crl, parse_crl, parse_crls
from relay.pki.crl_entries import scan_entries
from relay.pki.serial_index import (
    LAST_DAY,
    RECORD_BYTES,
    CorruptIndex,
    IndexHeader,
    SerialIndex,
    build_index,
)
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl, point, pretend_crl, to_der

CA = Authority("Fuzz CA")
HOLD = (x509.CRLReason(x509.ReasonFlags.certificate_hold), False)
SEEDS = [
    make_crl(CA, [5, 2**150, (7, "keyCompromise")]),
    make_crl(CA, number=7, base=3, extensions=[point("http://ca.example/", user=True)]),
    make_crl(
        CA, [9], entry_extensions=[(x509.InvalidityDate(NOW.replace(tzinfo=None)), False), HOLD]
    ),
]
SIGNED = {x509.load_der_x509_crl(each).tbs_certlist_bytes for each in SEEDS}
UTC_STAMP, LONG_STAMP = to_der(0x17, b"260304050607Z"), to_der(0x18, b"20260304050607Z")
REASON = bytes.fromhex("300c300a0603551d1504030a0101")
ENTRIES = [
    to_der(0x30, to_der(2, b"\x05"), UTC_STAMP),
    to_der(0x30, to_der(2, bytes(range(1, 21))), UTC_STAMP, REASON),
    to_der(0x30, to_der(2, b"\0\xff\1"), LONG_STAMP, REASON),
    to_der(
        0x30, to_der(2, b"\x7f"), UTC_STAMP, to_der(0x30, bytes.fromhex("30090603551d1704025500"))
    ),
    REASON,
    UTC_STAMP,
]
HEADER = IndexHeader("a", "b", NOW, NOW + timedelta(days=1), 3, points=("uri:http://ca.example/",))
INDEX = build_index(HEADER, scan_entries(ENTRIES[0], 0, len(ENTRIES[0])))


@fuzz_settings()
@given(st.one_of(mutated(SEEDS), st.binary()))
def test_a_list_is_read_or_refused_and_nothing_forged_is_believed(data):
    try:
        crl = parse_crl(data)
        problem = check_crl(crl, CA.certificate, NOW)
        index = SerialIndex(index_crl(crl, CA.certificate))
    except MalformedCrl:
        return
    assert index.is_intact()
    if problem is None:
        assert x509.load_der_x509_crl(data).tbs_certlist_bytes in SIGNED


@fuzz_settings()
@given(
    mutated(
        [b"-----BEGIN X509 CRL-----\n", b"MAA=\n", b"-----END X509 CRL-----\n", b"\x30\x03\2\1\1"]
    )
)
def test_files_of_lists(data):
    try:
        assert parse_crls(data)
    except MalformedCrl:
        pass


def read_by_cryptography(entries: bytes) -> list[tuple[int, float]] | None:
    """Serials and dates as cryptography sees them, None if it objects."""
    try:
        crl = x509.load_der_x509_crl(pretend_crl(CA, [entries]))
        found = [(each.serial_number, each.revocation_date_utc.timestamp()) for each in crl]
        _ = [each.extensions for each in crl]
    except PARSE_FAULTS:
        return None
    return found


@fuzz_settings()
@given(mutated(ENTRIES))
def test_entries_are_refused_or_read_as_cryptography_reads_them(data):
    try:
        records = list(scan_entries(data, 0, len(data)))
    except ValueError:
        return
    assert all(len(each) == RECORD_BYTES for each in records)
    theirs = read_by_cryptography(data)
    if theirs is None:
        return
    index = SerialIndex(build_index(HEADER, records))
    assert len(index) == len(theirs)
    assert all(index.find(serial) for serial, _ in theirs)
    once = len({serial for serial, _ in theirs}) == len(theirs)
    for serial, date in theirs:
        if once and 0 <= date < LAST_DAY:  # beyond, any day will do
            assert index.find(serial).revoked_at.timestamp() == date


@fuzz_settings()
@given(mutated([INDEX, INDEX[:100], INDEX[100:]]))
def test_a_damaged_index_is_noticed(data):
    try:
        index = SerialIndex(data)
        index.find(5)
    except CorruptIndex:
        return
    assert index.is_intact() == (data == INDEX)
