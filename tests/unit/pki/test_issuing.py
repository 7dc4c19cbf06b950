"""Issuing: what our CA signs is what OpenSSL and the relay's own trust take, and no more."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.errors import ConfigurationError
from relay.pki.certificate import Certificate
from relay.pki.chain import Anchors, verify_chain
from relay.pki.issuing import (
    Issuer,
    Subject,
    Validity,
    issue_leaf,
    issue_root,
    pack_pkcs12,
    read_request,
)
from tests.kit.pki import common_name, make_key

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)
TEN_YEARS = Validity(START, START + timedelta(days=3650))
A_MONTH = Validity(START, START + timedelta(days=30))
NAMES = ("dns:mail.acme.example", "uri:spiffe://acme/a", "email:a@acme.example", "ip:2001:db8::1")


@pytest.fixture(scope="module", params=["ec", "p384", "rsa3072"])
def issuer(request):
    key = make_key(request.param)
    return Issuer(issue_root("Our CA", key, 1, TEN_YEARS), key)


def test_the_root_is_a_ca_that_may_have_one_ca_below_it(issuer):
    root = Certificate(issuer.certificate)
    assert root.subject == root.issuer == "CN=Our CA"
    assert root.x509.serial_number == 1
    assert (root.not_before, root.not_after) == TEN_YEARS
    assert root.extension(x509.BasicConstraints) == x509.BasicConstraints(True, 1)
    usage = root.extension(x509.KeyUsage)
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, True)
    assert root.extension(x509.SubjectKeyIdentifier) is not None


@pytest.mark.parametrize("kind", ["ec", "ed25519", "rsa2048"])
def test_a_leaf_has_a_verified_chain_and_its_names(issuer, kind):
    subject = Subject("acme", NAMES)
    leaf = Certificate(issue_leaf(subject, make_key(kind).public_key(), issuer, 7, A_MONTH))
    assert verify_chain((leaf,), Anchors([Certificate(issuer.certificate)]), NOW).status is None
    assert leaf.names == NAMES
    assert leaf.subject == "CN=acme"
    assert (leaf.x509.serial_number, leaf.not_before, leaf.not_after) == (7, *A_MONTH)
    assert leaf.extension(x509.BasicConstraints).ca is False
    assert leaf.extension(x509.KeyUsage).digital_signature
    identifier = leaf.extension(x509.AuthorityKeyIdentifier).key_identifier
    root = Certificate(issuer.certificate)
    assert identifier == root.extension(x509.SubjectKeyIdentifier).digest


@pytest.mark.parametrize(
    ("purpose", "usages"),
    [
        ("client", [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ("server", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_a_client_is_no_server(issuer, purpose, usages):
    subject = Subject("acme", (), purpose)
    leaf = Certificate(issue_leaf(subject, make_key().public_key(), issuer, 7, A_MONTH))
    assert list(leaf.extension(x509.ExtendedKeyUsage)) == usages
    assert leaf.names == ()


def test_a_leaf_does_not_outlive_its_issuer(issuer):
    long = Validity(START, START + timedelta(days=9999))
    leaf = issue_leaf(Subject("acme"), make_key().public_key(), issuer, 7, long)
    assert leaf.not_valid_after_utc == TEN_YEARS.not_after


def test_openssl_verifies_what_we_sign(issuer, tmp_path):
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    now = datetime.now(UTC) - timedelta(minutes=5)
    subject = Subject("mail.acme.example", NAMES, "server")
    leaf = issue_leaf(
        subject, make_key().public_key(), issuer, 7, Validity(now, now + timedelta(days=1))
    )
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    for purpose in ("sslclient", "sslserver"):
        subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", "leaf.pem"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip


# --- requests --------------------------------------------------------------------------------


def request(key, name="acme", names=(), algorithm=hashes.SHA256()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, algorithm)


def pem(signed):
    return signed.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("kind", ["ec", "ed25519", "rsa2048"])
def test_a_request_gives_its_key_and_its_wishes(kind):
    key = make_key(kind)
    algorithm = None if kind == "ed25519" else hashes.SHA256()
    signed = request(key, names=[x509.DNSName("Mail.Acme.example")], algorithm=algorithm)
    public_key, wished = read_request(pem(signed))
    assert public_key == key.public_key()
    assert wished == Subject("acme", ("dns:mail.acme.example",))


def test_a_request_without_names_has_none():
    assert read_request(pem(request(make_key())))[1] == Subject("acme")


def private_key():
    return b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


def broken_signature():
    der = bytearray(request(make_key()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return pem(x509.load_der_x509_csr(bytes(der)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"junk", "no readable signing request"),
        (private_key, "no readable signing request"),
        (broken_signature, "own signature is wrong"),
        (lambda: pem(request(make_key("rsa1024"))), "key is weak"),
        (lambda: pem(request(ec.generate_private_key(ec.SECP224R1()))), "key is weak"),
        (lambda: pem(request(dsa.generate_private_key(2048))), "key is weak or of a kind"),
        (lambda: pem(request(ed448.Ed448PrivateKey.generate(), algorithm=None)), "of a kind that is not signed"),
    ],
)  # fmt: skip
def test_a_request_that_proves_nothing_is_refused(content, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_request(content())
    assert "openssl req" in caught.value.remedy


# --- PKCS#12 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa2048", "ed25519"])
def test_a_pkcs12_file_opens_with_its_password_only(issuer, kind, tmp_path):
    key = make_key(kind)
    leaf = issue_leaf(Subject("acme"), key.public_key(), issuer, 7, A_MONTH)
    content = pack_pkcs12("acme", key, leaf, [issuer.certificate], b"geheim")
    opened = pkcs12.load_pkcs12(content, b"geheim")
    assert opened.key.public_key() == key.public_key()
    assert opened.cert.certificate == leaf
    assert opened.cert.friendly_name == b"acme"
    assert [each.certificate for each in opened.additional_certs] == [issuer.certificate]
    with pytest.raises(ValueError):
        pkcs12.load_pkcs12(content, b"falsch")


def test_openssl_opens_a_pkcs12_file(issuer, tmp_path):
    key = make_key()
    leaf = issue_leaf(Subject("acme"), key.public_key(), issuer, 7, A_MONTH)
    (tmp_path / "acme.p12").write_bytes(
        pack_pkcs12("acme", key, leaf, [issuer.certificate], b"geheim")
    )
    shown = subprocess.run(
        ["openssl", "pkcs12", "-in", "acme.p12", "-passin", "pass:geheim", "-info", "-noenc"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout.count("BEGIN CERTIFICATE") == 2
    assert shown.stdout.count("BEGIN PRIVATE KEY") == 1
    assert "AES-256-CBC" in shown.stderr


@pytest.mark.skipif(shutil.which("keytool") is None, reason="keytool (Java) is not installed")
def test_java_opens_a_pkcs12_file(issuer, tmp_path):
    key = make_key()
    leaf = issue_leaf(Subject("acme"), key.public_key(), issuer, 7, A_MONTH)
    (tmp_path / "acme.p12").write_bytes(
        pack_pkcs12("acme", key, leaf, [issuer.certificate], b"geheim")
    )
    shown = subprocess.run(
        ["keytool", "-list", "-storetype", "PKCS12", "-keystore", "acme.p12", "-storepass", "geheim"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "PrivateKeyEntry" in shown.stdout
