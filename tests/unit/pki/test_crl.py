from __future__ import annotations

import base64
import resource
import shutil
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.pki.certificate import Certificate
from relay.pki.crl import (
    MalformedCrl,
    Scope,
    check_crl,
    index_crl,
    issuer_ids,
    parse_crl,
    parse_crls,
)
from relay.pki.serial_index import SerialIndex
from tests.kit.pki import Authority, common_name, make_key
from tests.kit.revocation import NOW, make_crl, point, pretend_crl, to_der

CA = Authority("CRL Test CA")
NAMESAKE = Authority("CRL Test CA")
OTHER = Authority("Another CA")
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
HARMLESS = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)


def pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN X509 CRL-----\n" + body + b"-----END X509 CRL-----\n"


def fault(der: bytes, ca: Authority = CA, *, at=NOW, **options) -> str | None:
    return check_crl(parse_crl(der), ca.certificate, at, **options)


# --- reading


def test_what_a_list_says_of_itself():
    crl = parse_crl(make_crl(CA, [5, 6], number=2**100))
    assert crl.issuer == CA.name
    assert (crl.this_update, crl.next_update) == (NOW, NOW + timedelta(days=7))
    assert (crl.number, crl.base_number, crl.is_delta) == (2**100, None, False)
    assert crl.scope == Scope()
    assert crl.unknown_critical == ()
    assert len(list(crl.records())) == 2


def test_a_list_without_entries_or_extensions():
    crl = parse_crl(make_crl(CA, number=None))
    assert list(crl.records()) == []
    assert crl.number is None
    assert crl.is_signed_by(CA.certificate.public_key)


def test_der_and_pem_are_the_same_list():
    der = make_crl(CA, [5])
    for data in (
        pem(der),
        b"text before\n" + pem(der) + b"text behind\n",
        pem(der).replace(b"\n", b"\r\n"),
    ):
        crl = parse_crl(data)
        assert crl.size_bytes == len(der)
        assert crl.is_signed_by(CA.certificate.public_key)


def test_a_pem_file_holds_lists_of_several_cas():
    data = pem(make_crl(CA)) + pem(make_crl(OTHER))
    assert [each.issuer for each in parse_crls(data)] == [CA.name, OTHER.name]
    with pytest.raises(MalformedCrl, match="2 CRLs"):
        parse_crl(data)


def test_a_delta_names_its_base():
    crl = parse_crl(make_crl(CA, number=7, base=3))
    assert (crl.number, crl.base_number, crl.is_delta) == (7, 3, True)


@pytest.mark.parametrize(
    ("extension", "scope"),
    [
        (point("http://ca.example/a.crl"), Scope(points=("uri:http://ca.example/a.crl",))),
        (point("http://a.example/", user=True), Scope("user", ("uri:http://a.example/",))),
        (point(ca=True), Scope("ca")),
        (point(attribute=True), Scope("attribute")),
        (point(indirect=True), Scope(is_indirect=True)),
        (
            point("http://a.example/", some_reasons=True),
            Scope("", ("uri:http://a.example/",), True),
        ),
        (point(relative=True), Scope(is_relative=True)),
    ],
)
def test_the_scope_of_a_partitioned_list(extension, scope):
    assert parse_crl(make_crl(CA, extensions=[extension])).scope == scope


def test_where_deltas_are_published():
    urls = [
        x509.UniformResourceIdentifier(each) for each in ("http://ca.example/delta", "ldap://ca")
    ]
    freshest = x509.FreshestCRL([x509.DistributionPoint(urls, None, None, None)])
    found = parse_crl(make_crl(CA, extensions=[(freshest, False)])).delta_urls
    assert found.usable == ("http://ca.example/delta",)
    assert found.refused[0][0] == "ldap://ca"


WHOLE = make_crl(CA, [5, 6, 7])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no CRL"),
        (b"hello", "no CRL"),
        (b"\x30", "cut short"),
        (WHOLE[:-1], "cut short"),
        (WHOLE + b"\0", "more than belongs"),
        (CA.cert.public_bytes(Encoding.DER), "cannot be read"),
        (CA.pem, "no CRL"),
        (pem(b"\x30\x03\x02\x01\x01"), "cannot be read"),
        (b"-----BEGIN X509 CRL-----\nMII\n-----END X509 CRL-----\n", "damaged"),
        (pretend_crl(CA, [to_der(0x30)], until=to_der(0x17, b"990101")), "cannot be read"),
        (pretend_crl(CA, [to_der(0x31)], until=to_der(0x31)), "0x31 where 0x30"),
        (WHOLE.replace(to_der(6, b"\x55\x1d\x14"), to_der(6, b"\x55\x1d\x1c")), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(data, problem):
    with pytest.raises(MalformedCrl, match=problem):
        parse_crl(data)


def test_size_is_limited():
    with pytest.raises(MalformedCrl, match="larger than 100 bytes"):
        parse_crl(WHOLE, max_bytes=100)


def test_a_signature_with_unused_bits_is_refused():
    size = len(WHOLE) - WHOLE.rindex(b"\x03", 0, len(WHOLE) - 65)
    start = len(WHOLE) - size
    assert WHOLE[start + 2] == 0
    with pytest.raises(MalformedCrl, match="unused bits"):
        parse_crl(WHOLE[: start + 2] + b"\x01" + WHOLE[start + 3 :])


def test_a_bad_entry_shows_when_entries_are_read():
    crl = parse_crl(make_crl(CA, [5], entry_extensions=[UNKNOWN]))
    with pytest.raises(MalformedCrl, match="critical extension"):
        list(crl.records())


# --- believing


@pytest.mark.parametrize("kind", ["ec", "p384", "rsa2048", "ed25519"])
def test_signatures_of_every_kind(kind):
    ca = Authority(key_type=kind)
    der = make_crl(ca, [5])
    assert fault(der, ca) is None
    place = der.index(to_der(2, b"\x05"))
    assert "signature" in fault(der[:place] + to_der(2, b"\x06") + der[place + 3 :], ca)


def test_a_pss_signature():
    ca = Authority(key_type="rsa2048")
    assert fault(make_crl(ca, [5], pss=True), ca) is None
    assert "signature" in fault(make_crl(ca, [5], pss=True, key=make_key("rsa2048")), ca)


def ca_without(*, crl_sign: bool | None) -> Certificate:
    """The CA's certificate with other usages, None: without the extension."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(CA.name)
        .issuer_name(CA.name)
        .public_key(CA.key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    if crl_sign is not None:
        usage = x509.KeyUsage(False, False, False, False, False, True, crl_sign, False, False)
        builder = builder.add_extension(usage, critical=True)
    return Certificate(builder.sign(CA.key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("crl_sign", "problem"), [(True, None), (None, None), (False, "key usage")]
)
def test_the_ca_must_be_allowed_to_sign_lists(crl_sign, problem):
    found = check_crl(parse_crl(make_crl(CA)), ca_without(crl_sign=crl_sign), NOW)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize(
    ("der", "problem"),
    [
        (make_crl(CA), None),
        (make_crl(CA, number=None), None),
        (make_crl(CA, extensions=[HARMLESS]), None),
        (make_crl(CA, extensions=[point("http://a.example/", user=True)]), None),
        (make_crl(CA, number=4, base=2), None),
        (make_crl(OTHER), "another CA: CN=Another CA"),
        (make_crl(NAMESAKE), "signature"),
        (make_crl(CA, key=make_key("rsa2048")), "signature"),
        (make_crl(CA, key=make_key("ed25519")), "signature"),
        (pretend_crl(CA, [], weak=True), "broken digest"),
        (make_crl(CA, extensions=[UNKNOWN]), "critical extension that is not known (1.2.3.4)"),
        (make_crl(CA, extensions=[point(indirect=True)]), "indirect"),
        (make_crl(CA, extensions=[point(attribute=True)]), "not about the certificates"),
        (make_crl(CA, extensions=[point(relative=True)]), "relative"),
        (make_crl(CA, extensions=[point("http://a.example/", some_reasons=True)]), "some reasons"),
        (make_crl(CA, number=None, base=2), "without a number"),
        (pretend_crl(CA, [], until=b""), "until when it counts"),
    ],
)
def test_whether_a_list_may_be_used(der, problem):
    found = fault(der)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize(
    ("after", "grace", "problem"),
    [
        (timedelta(minutes=-6), timedelta(0), "from the future"),
        (timedelta(minutes=-4), timedelta(0), None),
        (timedelta(days=7), timedelta(0), None),
        (timedelta(days=7, seconds=1), timedelta(0), "stale"),
        (timedelta(days=8), timedelta(days=1), None),
        (timedelta(days=8, seconds=1), timedelta(days=1), "stale"),
    ],
)
def test_the_time_in_which_a_list_counts(after, grace, problem):
    found = fault(make_crl(CA), at=NOW + after, grace=grace)
    assert found is None if problem is None else problem in found


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("used", "offered", "problem"),
    [
        ((5, NOW), (6, NOW + HOUR), None),
        ((5, NOW), (5, NOW), None),
        ((5, NOW), (5, NOW + HOUR), None),
        ((5, NOW), (4, NOW + HOUR), "list 4, and the newer list 5"),
        ((5, NOW), (6, NOW - HOUR), "older"),
        ((5, NOW), (None, NOW + HOUR), "no number"),
        ((None, NOW), (1, NOW + HOUR), None),
        ((None, NOW), (None, NOW), None),
        ((None, NOW), (None, NOW - HOUR), "older"),
    ],
)
def test_an_older_list_does_not_come_back(used, offered, problem):
    previous = index_of(make_crl(CA, number=used[0], at=used[1])).header
    found = fault(make_crl(CA, number=offered[0], at=offered[1]), at=NOW + HOUR, previous=previous)
    assert found is None if problem is None else problem in found


def test_a_ca_certificate_that_cannot_be_read_is_a_reason():
    assert "cannot be read" in check_crl(parse_crl(make_crl(CA)), Certificate(b"\x30\0"), NOW)


# --- indexing


def index_of(der: bytes, ca: Authority = CA) -> SerialIndex:
    return SerialIndex(index_crl(parse_crl(der), ca.certificate))


def test_the_index_says_what_the_list_says():
    der = make_crl(
        CA,
        [(5, "keyCompromise")],
        number=9,
        base=4,
        extensions=[point("http://a.example/", ca=True)],
    )
    index = index_of(der)
    name, key = issuer_ids(CA.certificate)
    assert index.header._asdict() == {
        "issuer_name": name,
        "issuer_key": key,
        "this_update": NOW,
        "next_update": NOW + timedelta(days=7),
        "number": 9,
        "base_number": 4,
        "only": "ca",
        "points": ("uri:http://a.example/",),
    }
    assert index.find(5).reason == "keyCompromise"
    assert index.find(5).revoked_at == NOW - timedelta(days=1)


def test_namesakes_have_different_ids():
    ours, namesake = issuer_ids(CA.certificate), issuer_ids(NAMESAKE.certificate)
    assert ours[0] == namesake[0]
    assert ours[1] != namesake[1]


def test_a_list_without_an_end_is_not_indexed():
    with pytest.raises(MalformedCrl, match="until when"):
        index_crl(parse_crl(pretend_crl(CA, [], until=b"")), CA.certificate)


# --- foreign lists


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_reads_what_openssl_makes(tmp_path):
    leaf = CA.issue("revoked.example")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    key = CA.key.private_bytes(
        Encoding.PEM,
        PrivateFormat.PKCS8,
        NoEncryption(),
    )
    (tmp_path / "ca.key").write_bytes(key)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    (tmp_path / "index.txt").touch()
    (tmp_path / "number").write_text("1A\n")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = one\n[one]\ndatabase = {tmp_path}/index.txt\ncrlnumber = {tmp_path}/number\n"
        f"certificate = {tmp_path}/ca.pem\nprivate_key = {tmp_path}/ca.key\ndefault_md = sha384\n"
        "default_crl_days = 3\ncrl_extensions = ext\n[ext]\nauthorityKeyIdentifier = keyid\n"
    )

    def openssl(*words: str) -> None:
        command = ["openssl", "ca", "-config", str(tmp_path / "ca.cnf"), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    openssl("-revoke", str(tmp_path / "leaf.pem"), "-crl_reason", "superseded")
    openssl("-gencrl", "-out", str(tmp_path / "ca.crl"))
    data = (tmp_path / "ca.crl").read_bytes()
    later = NOW + timedelta(minutes=30)
    assert check_crl(parse_crl(data), CA.certificate, later) is None
    index = SerialIndex(index_crl(parse_crl(data), CA.certificate))
    assert index.header.number == 0x1A
    assert index.find(leaf.cert.serial_number).reason == "superseded"
    assert len(index) == 1


def test_reads_a_list_of_version_1():
    """RFC 5280 5.1.2.1 asks for version 2 only where there are extensions."""
    der = pretend_crl(CA, [to_der(0x30, to_der(2, b"\x05"), to_der(0x17, b"260101000000Z"))])
    assert parse_crl(der).number is None
    start = der.index(b"\x02\x01\x01")
    signed = to_der(0x30, der[start + 3 : signed_end(der)])
    signature = CA.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    first = to_der(0x30, signed, algorithm, to_der(3, b"\0", signature))
    assert fault(first) is None
    assert index_of(first).find(5)


def signed_end(der: bytes) -> int:
    from relay.pki.der import read_element

    whole = read_element(der, 0, len(der))
    return read_element(der, whole.content, whole.end).end


def test_the_name_is_compared_whole():
    twin = Authority("CRL Test CA ")
    twin.name = common_name("CRL Test CA ")
    assert "another CA" in fault(make_crl(twin, key=CA.key))


# --- size


def million() -> bytes:
    """A list of a million entries, half of them with a reason code."""
    stamp = to_der(0x17, b"260304050607Z")
    reason = bytes.fromhex("300c300a0603551d1504030a0101")
    numbers = (b"\x02\x10\x01" + (number * 7919).to_bytes(15, "big") for number in range(1_000_000))
    bodies = (each + stamp + reason * (each[-1] & 1) for each in numbers)
    return pretend_crl(CA, [b"".join(bytes((0x30, len(each))) + each for each in bodies)])


@pytest.mark.slow
def test_a_million_entries_take_seconds_and_no_hundreds_of_megabytes():
    """Figures and machine: docs/decisions/0010-crl-index.md (2.2 s, 66 MB)."""
    data = million()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    crl = parse_crl(data)
    assert check_crl(crl, CA.certificate, NOW) is None
    index = SerialIndex(index_crl(crl, CA.certificate))
    assert time.process_time() - start < 15
    unit = 1024 if sys.platform == "darwin" else 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit < 200 * 1024
    assert len(index) == 1_000_000
    first = 1 << 120
    start = time.process_time()
    assert all(index.find(first + number * 7919) for number in range(0, 1_000_000, 100))
    assert not any(index.find(first + number * 7919 + 1) for number in range(0, 1_000_000, 100))
    assert (time.process_time() - start) / 20_000 < 50e-6  # measured: 2 us
