"""Certificates: what is read of them, when, and what a broken one does."""

import base64
import hashlib
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.pki.certificate import (
    Certificate,
    MalformedCertificate,
    parse_pem_chain,
    read_common_name,
)
from tests.kit.pki import Authority, self_signed

KINDS = ["ec", "p384", "ed25519", "rsa2048", "p192"]


@pytest.fixture(scope="module")
def authority():
    return Authority("Root")


@pytest.mark.parametrize("kind", KINDS)
def test_the_spki_digest_is_that_of_the_key_whatever_its_kind(authority, kind):
    issued = authority.issue(key=kind)
    certificate = issued.certificates[0]
    assert f"spki:sha256:{certificate.spki_sha256}" == issued.pin
    assert f"cert:sha256:{certificate.sha256}" == issued.cert_pin


def test_the_spki_digest_is_the_one_that_openssl_computes(tmp_path):
    issued = self_signed(key="rsa2048")
    chain, _ = issued.write(tmp_path, "client")
    public = subprocess.run(
        ["openssl", "x509", "-in", chain, "-pubkey", "-noout"], capture_output=True, check=True
    ).stdout
    der = base64.b64decode(b"".join(public.splitlines()[1:-1]))
    assert Certificate(issued.cert).spki_sha256 == hashlib.sha256(der).hexdigest()


def test_all_names_are_canonical(authority):
    certificate = authority.issue(
        dns=["Mail.Acme.EXAMPLE", "xn--bcher-kva.example"],
        uri=["SPIFFE://Acme.example/Billing"],
        email=["Billing@Acme.EXAMPLE"],
        ip=["192.0.2.1", "2001:DB8:0::1"],
    ).certificates[0]
    assert certificate.names == (
        "dns:mail.acme.example",
        "dns:xn--bcher-kva.example",
        "ip:192.0.2.1",
        "ip:2001:db8::1",
        "uri:spiffe://acme.example/Billing",
        "email:Billing@acme.example",
    )


def test_other_kinds_of_names_are_left_out(authority):
    names = x509.SubjectAlternativeName(
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.DNSName("a.example")]
    )
    certificate = authority.issue(extensions=[(names, False)]).certificates[0]
    assert certificate.names == ("dns:a.example",)


def test_a_certificate_says_who_when_and_by_whom(authority):
    issued = authority.issue("acme-billing")
    certificate = issued.certificates[0]
    assert certificate.subject == "CN=acme-billing"
    assert certificate.common_name == "acme-billing"
    assert certificate.issuer == "CN=Root"
    assert int(certificate.serial, 16) == issued.cert.serial_number
    assert certificate.not_before == issued.cert.not_valid_before_utc
    assert certificate.not_after == issued.cert.not_valid_after_utc


def test_of_several_cns_the_last_counts_and_none_is_empty():
    cn = x509.NameOID.COMMON_NAME
    several = x509.Name([x509.NameAttribute(cn, "a"), x509.NameAttribute(cn, "b")])
    assert read_common_name(several) == "b"
    assert read_common_name(x509.Name([])) == ""


def test_certificates_are_equal_if_their_bytes_are(authority):
    issued = authority.issue()
    first, second = Certificate(issued.cert), Certificate(issued.cert.public_bytes(Encoding.DER))
    assert first == second
    assert hash(first) == hash(second)
    assert first != authority.certificate
    assert first.sha256[:16] in repr(first)


PROPERTIES = [
    "x509", "spki_sha256", "subject", "issuer", "common_name", "serial", "not_before", "not_after",
    "public_key", "signature_hash", "names", "extensions",
]  # fmt: skip


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x03\x30\x01\x02", b"junk" * 100, b"\x30\x80"])
@pytest.mark.parametrize("attribute", PROPERTIES)
def test_junk_raises_only_what_is_documented(der, attribute):
    with pytest.raises(MalformedCertificate):
        getattr(Certificate(der), attribute)


def test_every_truncation_raises_only_what_is_documented(authority):
    der = authority.issue(dns=["a.example"]).cert.public_bytes(Encoding.DER)
    for size in range(0, len(der), 7):
        certificate = Certificate(der[:size])
        assert len(certificate.sha256) == 64
        with pytest.raises(MalformedCertificate):
            _ = certificate.names


def test_broken_extensions_do_not_hide_the_key(authority):
    unreadable = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\xff\xff")
    certificate = authority.issue(extensions=[(unreadable, False)]).certificates[0]
    assert len(certificate.spki_sha256) == 64
    assert certificate.subject == "CN=client.example"
    with pytest.raises(MalformedCertificate):
        _ = certificate.names


def test_a_key_longer_than_what_holds_it_is_malformed(authority):
    der = bytearray(authority.issue().cert.public_bytes(Encoding.DER))
    der[6:8] = (int.from_bytes(der[6:8], "big") - 240).to_bytes(2, "big")  # TBSCertificate
    with pytest.raises(MalformedCertificate):
        _ = Certificate(bytes(der)).spki_sha256


def test_a_pem_chain_is_read_in_its_order_with_text_between():
    root = Authority("Root")
    between = Authority("Between", parent=root)
    issued = between.issue()
    pem = b"subject=leaf\r\n" + issued.pem + b"\nother text\n" + between.pem
    assert parse_pem_chain(pem) == (issued.certificates[0], between.certificate)


def test_a_pem_file_without_certificates_is_an_empty_chain(authority):
    assert parse_pem_chain(b"") == ()
    assert parse_pem_chain(authority.issue().key_pem) == ()


def test_a_broken_certificate_in_a_pem_file_is_malformed():
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(MalformedCertificate):
        parse_pem_chain(pem)


@pytest.mark.parametrize("number", [b"\x01\x00", b"\x01\x80", b"\x02\x80\x00"])
def test_a_serial_number_that_should_not_be_is_put_up_with(authority, number):
    odd = with_serial(authority.issue(dns=["a.example"]).cert, b"\x02" + number)
    certificate = Certificate(odd)
    assert certificate.subject == "CN=client.example"
    assert int(certificate.serial, 16) <= 0
    assert certificate.names == ("dns:a.example",)
    pem = base64.encodebytes(odd)
    chain = parse_pem_chain(b"-----BEGIN CERTIFICATE-----\n" + pem + b"-----END CERTIFICATE-----\n")
    assert chain == (certificate,)


def with_serial(cert, number):
    """The certificate with another serial number, a whole DER element; its signature is void."""
    content = cert.tbs_certificate_bytes[4:]
    old = content[:5], content[5 + 2 + content[6] :]
    body = number.join(old)
    signed = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    rest = cert.public_bytes(Encoding.DER)[4 + len(cert.tbs_certificate_bytes) :]
    return b"\x30\x82" + (len(signed) + len(rest)).to_bytes(2, "big") + signed + rest
