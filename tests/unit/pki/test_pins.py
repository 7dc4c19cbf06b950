"""Pins: every spelling in use is read, and none is guessed."""

import base64
import subprocess

import pytest

from relay.errors import ConfigurationError
from relay.pki.certificate import Certificate
from relay.pki.pins import Pin, format_pin, parse_pin, pin_forms, pin_of, pin_of_pem
from tests.kit.pki import Authority, self_signed

RAW = bytes.fromhex("fb" + "3e" * 15 + "ff" * 16)  # its base64 has + and /
HEX = RAW.hex()
STANDARD = base64.b64encode(RAW).decode()
URL = base64.urlsafe_b64encode(RAW).decode()


@pytest.mark.parametrize(
    "digest",
    [
        HEX,
        HEX.upper(),
        RAW.hex(":"),
        RAW.hex(":").upper(),
        STANDARD,
        STANDARD.rstrip("="),
        URL,
        URL.rstrip("="),
    ],
)
@pytest.mark.parametrize("kind", ["spki", "cert"])
def test_every_spelling_of_a_digest_is_the_same_pin(digest, kind):
    assert parse_pin(f"{kind}:sha256:{digest}") == Pin(kind, HEX)
    assert parse_pin(f" {kind.upper()}:SHA256:{digest}\n") == Pin(kind, HEX)
    assert parse_pin(f"sha256:{digest}", kind=kind) == Pin(kind, HEX)
    assert parse_pin(digest, kind=kind) == Pin(kind, HEX)


def test_what_the_text_says_goes_before_what_the_caller_thinks():
    assert parse_pin(f"cert:sha256:{HEX}", kind="spki").kind == "cert"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"sha256:{HEX}", "does not say what was hashed"),
        (HEX, "is no pin"),
        ("", "is no pin"),
        ("acme", "is no pin"),
        (f"key:sha256:{HEX}", "is no pin"),
        (f"spki:sha1:{'ab' * 20}", "no SHA-256 digest"),
        (f"spki:md5:{'ab' * 16}", "no SHA-256 digest"),
        (f"spki:sha256:{HEX[:-2]}", "no SHA-256 digest"),
        (f"spki:sha256:{HEX}00", "no SHA-256 digest"),
        (f"spki:sha256:{RAW.hex(':')}:00", "no SHA-256 digest"),
        ("spki:sha256:", "no SHA-256 digest"),
        ("spki:sha256:" + "é" * 43, "no SHA-256 digest"),
        ("spki:sha256:" + "x" * 5000, "no SHA-256 digest"),
    ],
)
def test_what_is_no_pin_is_refused_with_a_remedy(text, words):
    with pytest.raises(ConfigurationError) as caught:
        parse_pin(text)
    assert words in caught.value.problem
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


def test_the_forms_all_read_back():
    pin = Pin("cert", HEX)
    forms = pin_forms(pin)
    assert forms["hex"] == format_pin(pin) == str(pin)
    assert forms["base64"] == f"cert:sha256:{STANDARD}"
    assert forms["colons"] == f"cert:sha256:{RAW.hex(':').upper()}"
    assert {parse_pin(form) for form in forms.values()} == {pin}


@pytest.fixture(scope="module")
def issued():
    return Authority().issue()


def test_a_certificate_has_a_pin_of_each_kind(issued):
    certificate = Certificate(issued.cert)
    assert str(pin_of(certificate)) == issued.pin
    assert str(pin_of(certificate, "cert")) == issued.cert_pin


def test_a_pem_file_gives_the_pin_of_its_first_certificate(issued):
    assert str(pin_of_pem(issued.chain_pem)) == issued.pin
    assert str(pin_of_pem(b"text\n" + issued.chain_pem, kind="cert")) == issued.cert_pin


def openssl(*arguments, data=None):
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True
    ).stdout


@pytest.mark.parametrize("kind", ["ec", "rsa2048", "ed25519"])
def test_request_and_public_key_have_the_pin_of_the_certificate(kind, tmp_path):
    made = self_signed(key=kind)
    _, key = made.write(tmp_path, "client")
    request = openssl("req", "-new", "-key", key, "-subj", "/CN=client")
    public = openssl("pkey", "-in", key, "-pubout")
    assert str(pin_of_pem(request)) == made.pin
    assert str(pin_of_pem(public)) == made.pin


def test_an_rsa_pss_key_is_pinned_as_it_stands(tmp_path):
    # Parsed and written again it would become a plain RSA key, and another digest.
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    cert = openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=pss")
    request = openssl("req", "-new", "-key", key, "-subj", "/CN=pss")
    public = openssl("pkey", "-in", key, "-pubout")
    assert pin_of_pem(cert) == pin_of_pem(request) == pin_of_pem(public)


def block(label, body="AAAA"):
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("pem", "kind", "words"),
    [
        (b"", "spki", "no PEM file"),
        (b"\x30\x82", "spki", "no PEM file"),
        (block("EC PRIVATE KEY"), "spki", "private key"),
        (block("CERTIFICATE"), "spki", "cannot be read"),
        (block("CERTIFICATE REQUEST"), "spki", "cannot be read"),
        (block("PUBLIC KEY"), "spki", "cannot be read"),
        (block("PUBLIC KEY", "é"), "spki", "cannot be read"),
        (block("X509 CRL"), "spki", "cannot be read"),
        (block("PUBLIC KEY"), "cert", "no whole certificate"),
    ],
)
def test_what_has_no_pin_is_refused(pem, kind, words):
    with pytest.raises(ConfigurationError, match=words):
        pin_of_pem(pem, kind=kind)
