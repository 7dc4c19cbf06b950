"""EST as bytes: what is asked for, what is more than is granted, what is answered."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigurationError
from relay.pki.est import (
    CSR_ATTRIBUTES,
    Credentials,
    encode_certificates,
    encode_request,
    excess_of,
    parse_certificates,
    parse_credentials,
    parse_request,
)
from relay.pki.issuing import Subject
from tests.kit.pki import Authority

KEY = ec.generate_private_key(ec.SECP256R1())
CA = Authority("Test Root")


def csr(name="acme", *, key=KEY, dns=(), challenge=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    )
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(each) for each in dns])
        builder = builder.add_extension(names, critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    return builder.sign(key, hashes.SHA256())


# --- requests ----------------------------------------------------------------------------------


def test_a_request_says_what_it_wishes_for_and_proves_its_key():
    read = parse_request(encode_request(csr(dns=["a.acme.example"], challenge=b"bound")))
    assert read.wish == Subject("acme", ("dns:a.acme.example",))
    assert read.key == KEY.public_key()
    assert read.challenge == b"bound"


def test_the_digest_of_the_key_is_the_one_of_its_certificate():
    issued = CA.issue("acme", key=KEY)
    assert parse_request(encode_request(csr())).spki_sha256 == issued.certificates[0].spki_sha256


@pytest.mark.parametrize(
    "spelled",
    [
        lambda der: base64.b64encode(der),
        lambda der: base64.encodebytes(der),
        lambda der: base64.encodebytes(der).replace(b"\n", b"\r\n"),
        lambda der: b" \t\r\n".join(base64.b64encode(der)[i : i + 7] for i in range(0, 999, 7)),
        lambda der: x509.load_der_x509_csr(der).public_bytes(Encoding.PEM),
    ],
    ids=["one line", "lines", "CRLF", "white space anywhere", "PEM"],
)
def test_base64_may_be_spelled_in_any_way(spelled):
    assert parse_request(spelled(csr().public_bytes(Encoding.DER))).wish.common_name == "acme"


def broken_signature():
    der = bytearray(csr().public_bytes(Encoding.DER))
    der[-1] ^= 1
    return base64.b64encode(bytes(der))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not base64!",
        base64.b64encode(b"no ASN.1"),
        base64.b64encode(b"\x30\x03\x02\x01\x00"),
        csr().public_bytes(Encoding.DER),
        broken_signature(),
        encode_request(csr(key=ec.generate_private_key(ec.SECP192R1()))),
        encode_request(csr(key=rsa.generate_private_key(65537, 1024))),
        "Grüße".encode(),
    ],
    ids=[
        "nothing", "words", "no DER", "no request", "DER without base64", "signature", "P-192",
        "RSA 1024", "no ASCII",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(body):
    with pytest.raises(ConfigurationError):
        parse_request(body)


@given(st.binary(max_size=400))
def test_garbage_is_refused_and_nothing_else(body):
    for each in (body, base64.b64encode(body)):
        with pytest.raises(ConfigurationError):
            parse_request(each)


# --- what is granted ---------------------------------------------------------------------------

GRANTED = Subject("acme", ("dns:a.acme.example", "uri:spiffe://acme/billing"))


@pytest.mark.parametrize(
    ("wish", "excess"),
    [
        (Subject(""), ""),
        (Subject("acme"), ""),
        (Subject("acme", ("dns:a.acme.example",)), ""),
        (GRANTED, ""),
        (
            Subject("acme", ("dns:b.acme.example",)),
            "the alternative names are dns:a.acme.example, ",
        ),
        (Subject("root"), "the common name is acme"),
        (Subject("ACME"), "the common name is acme"),
    ],
)
def test_a_request_may_wish_for_less_and_for_nothing_more(wish, excess):
    assert excess_of(wish, GRANTED).startswith(excess)
    assert bool(excess_of(wish, GRANTED)) == bool(excess)


def test_without_names_granted_none_may_be_wished_for():
    assert excess_of(Subject("acme", ("dns:x.example",)), Subject("acme")).endswith("none")


# --- answers -----------------------------------------------------------------------------------


def test_certificates_are_packed_and_found_again():
    sent = [CA.issue("acme").certificates[0], CA.certificate]
    assert set(parse_certificates(encode_certificates(sent))) == set(sent)


@pytest.mark.parametrize("body", [b"", b"PKCS", base64.b64encode(b"\x30\x00"), b"<html>"])
def test_an_answer_without_certificates_is_said_to_be_one(body):
    with pytest.raises(ConfigurationError, match="no certificates"):
        parse_certificates(body)


def test_the_attributes_are_der_of_the_length_they_say():
    der = base64.b64decode(CSR_ATTRIBUTES)
    assert der[0] == 0x30
    assert der[1] == len(der) - 2


# --- credentials -------------------------------------------------------------------------------


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (basic("acme:s3cret"), Credentials("acme", "s3cret")),
        (basic("acme:a:b"), Credentials("acme", "a:b")),
        (basic("acme:s3cret").replace("Basic", "BASIC"), Credentials("acme", "s3cret")),
        (basic(":"), Credentials("", "")),
        (basic("acme"), None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic /w==", None),
        ("Bearer abc", None),
        ("", None),
    ],
)
def test_credentials(field, expected):
    assert parse_credentials(field) == expected
