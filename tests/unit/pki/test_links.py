from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.model import TrustStatus
from relay.pki.certificate import Certificate, MalformedCertificate
from relay.pki.links import (
    fault_of_ca,
    fault_of_leaf,
    has_weak_signature,
    is_self_issued,
    is_weak_key,
)
from tests.kit.pki import Authority, common_name, make_key, self_signed

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
ROOT = Authority("Root")
LEAF = ROOT.issue().certificates[0]
OID = x509.ObjectIdentifier("1.2.3.4")


def ca_with(
    *extensions, constraints=True, path_length=None, usage=None, issuer=None
) -> Certificate:
    """A CA of exactly these extensions, self-issued unless it has another issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(ROOT.name)
        .issuer_name(common_name(issuer) if issuer else ROOT.name)
        .public_key(ROOT.key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
    )
    if constraints is not None:
        builder = builder.add_extension(
            x509.BasicConstraints(constraints, path_length), critical=True
        )
    if usage is not None:
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                 "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(**{each: each == usage for each in names}), critical=True
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Certificate(builder.sign(ROOT.key, hashes.SHA256()))


def purposes(*oids):
    return x509.ExtendedKeyUsage(oids), False


EKU = ExtendedKeyUsageOID
UNKNOWN = x509.UnrecognizedExtension(OID, b"\x05\0")
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(OID, None)])


@pytest.mark.parametrize(
    ("ca", "words"),
    [
        (ca_with(), None),
        (ca_with(usage="key_cert_sign"), None),
        (ca_with(usage="crl_sign"), "key usage"),
        (ca_with(constraints=False), "is none"),
        (ca_with(constraints=None), "is none"),
        (ca_with(purposes(EKU.CLIENT_AUTH)), None),
        (ca_with(purposes(EKU.SERVER_AUTH, EKU.CODE_SIGNING)), None),
        (ca_with(purposes(EKU.ANY_EXTENDED_KEY_USAGE)), None),
        (ca_with(purposes(EKU.CODE_SIGNING, EKU.OCSP_SIGNING)), "extended key usage"),
        (ca_with((UNKNOWN, False)), None),
        (ca_with((UNKNOWN, True)), "critical extension"),
        (ca_with((POLICIES, True)), None),
        (ca_with((x509.PolicyConstraints(0, None), False)), None),
        (ca_with((x509.PolicyConstraints(0, None), True)), "critical extension"),
        (ca_with((x509.InhibitAnyPolicy(0), True)), "critical extension"),
        (ca_with((x509.NameConstraints([x509.DNSName("a.example")], None), True)), None),
    ],
)  # fmt: skip
def test_what_a_ca_must_be(ca, words):
    for is_anchor in (True, False):
        fault = fault_of_ca(ca, (LEAF,), NOW, is_anchor=is_anchor)
        assert fault is None if words is None else words in fault.reason


OWN, OTHER = ca_with(), ca_with(issuer="Above")


@pytest.mark.parametrize(
    ("path_length", "below", "is_fine"),
    [
        (None, (LEAF, OTHER, OTHER, OTHER), True),
        (0, (LEAF,), True),
        (0, (LEAF, OTHER), False),
        (1, (LEAF, OTHER), True),
        (1, (LEAF, OTHER, OTHER), False),
        (0, (LEAF, OWN), True),
        (1, (LEAF, OTHER, OWN), True),
        (0, (OWN,), True),
    ],
)
def test_path_lengths_leave_out_what_a_ca_has_given_itself(path_length, below, is_fine):
    fault = fault_of_ca(ca_with(path_length=path_length), below, NOW, is_anchor=True)
    assert (fault is None) is is_fine
    assert is_fine or "more CAs below it" in fault.reason


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (-HOUR, None),
        (HOUR, None),
        (HOUR + timedelta(seconds=1), "expired"),
        (-HOUR - timedelta(seconds=1), "not_yet_valid"),
    ],
)
def test_both_ends_of_the_dates_belong_to_them(after, status):
    fault = fault_of_ca(OWN, (LEAF,), NOW + after, is_anchor=True)
    assert (fault and fault.status) == status


WEAK = TrustStatus.WEAK_KEY


def with_key(key) -> Certificate:
    """A leaf for a key that is only a public one."""
    builder = x509.CertificateBuilder(
        ROOT.name, common_name("leaf"), key, 1, NOW - HOUR, NOW + HOUR
    )
    return Certificate(builder.sign(ROOT.key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("leaf", "status", "words"),
    [
        (LEAF, None, ""),
        (ROOT.issue(key="rsa2048").certificates[0], None, ""),
        (ROOT.issue(key="rsa1024").certificates[0], WEAK, "the certificate has a weak key"),
        (ROOT.issue(key="p192").certificates[0], WEAK, "weak key"),
        (ROOT.issue(sha1=True).certificates[0], WEAK, "broken digest"),
        (self_signed(sha1=True).certificates[0], None, ""),
        (ROOT.issue(extensions=[(UNKNOWN, True)]).certificates[0], TrustStatus.UNTRUSTED, "critical"),
        (with_key(rsa.RSAPublicNumbers(65537, 2**8191 + 1).public_key()), None, ""),
        (with_key(rsa.RSAPublicNumbers(65537, 2**8192 + 1).public_key()), TrustStatus.UNTRUSTED, "8192 bits"),
    ],
)  # fmt: skip
def test_what_a_leaf_must_be(leaf, status, words):
    fault = fault_of_leaf(leaf, NOW)
    assert (fault and fault.status) == status
    assert fault is None or words in fault.reason


def test_the_signature_of_an_anchor_is_moot_and_no_other():
    weak = Authority("Weak", parent=ROOT, sha1=True).certificate
    assert fault_of_ca(weak, (LEAF,), NOW, is_anchor=True) is None
    assert fault_of_ca(weak, (LEAF,), NOW, is_anchor=False).status is WEAK


def test_a_certificate_of_version_1():
    modern = LEAF.der
    assert modern.count(b"\xa0\x03\x02\x01\x02") == 1
    old = Certificate(modern.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"))
    with pytest.raises(MalformedCertificate):  # cryptography does not read version 2 at all
        fault_of_leaf(old, NOW)


def test_who_has_issued_itself():
    assert is_self_issued(ROOT.certificate)
    assert is_self_issued(OWN)
    assert not is_self_issued(LEAF)


def test_weak_signatures_and_keys():
    assert has_weak_signature(ROOT.issue(sha1=True).certificates[0])
    assert not has_weak_signature(Authority(key_type="ed25519").certificate)
    assert is_weak_key(dsa.generate_private_key(2048).public_key())
    assert not is_weak_key(make_key("ed25519").public_key())
