"""Our own small CA: its root, leaves for clients and servers, signed requests, PKCS#12 files.

Pure: keys, times and serial numbers are given, nothing is drawn and nothing is written. Knows nothing
of the CA's folder (`relay/ca_folder.py`). RFC 5280, RFC 2986 (requests), RFC 7292 (PKCS#12).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.errors import ConfigurationError
from relay.pki.certificate import PARSE_FAULTS, read_common_name, read_names
from relay.pki.links import is_weak_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = [
    "Issuer",
    "PrivateKey",
    "PublicKey",
    "Subject",
    "Validity",
    "issue_leaf",
    "issue_root",
    "pack_pkcs12",
    "read_request",
]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Validity(NamedTuple):
    """From when until when; both ends belong to it."""

    not_before: datetime
    not_after: datetime


class Issuer(NamedTuple):
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Subject(NamedTuple):
    """Whom a leaf is for: its CN, its names ("dns:...", "uri:..." as in the allowlist), its use.

    A client's certificate is for TLS clients only; a server's for both, as an MTA needs it.
    """

    common_name: str
    names: tuple[str, ...] = ()
    purpose: Literal["client", "server"] = "client"


def issue_root(
    name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, serial: int, validity: Validity
) -> x509.Certificate:
    """Make a self-signed CA certificate; one more CA may stand below it."""
    subject = _name(name)
    builder = _builder(subject, subject, key.public_key(), serial, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _signed(builder, key)


def issue_leaf(
    subject: Subject, public_key: PublicKey, issuer: Issuer, serial: int, validity: Validity
) -> x509.Certificate:
    """Sign a certificate for a client or a server; it never outlives its issuer."""
    until = min(validity.not_after, issuer.certificate.not_valid_after_utc)
    builder = _builder(
        _name(subject.common_name),
        issuer.certificate.subject,
        public_key,
        serial,
        Validity(validity.not_before, until),
    )
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if subject.purpose == "server":
        purposes.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if subject.names:
        names = x509.SubjectAlternativeName([_general_name(each) for each in subject.names])
        builder = builder.add_extension(names, critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return _signed(builder.add_extension(identifier, critical=False), issuer.key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, serial: int, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "dns":
        return x509.DNSName(value)
    if kind == "uri":
        return x509.UniformResourceIdentifier(value)
    if kind == "email":
        return x509.RFC822Name(value)
    return x509.IPAddress(ip_address(value))


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def read_request(pem: bytes) -> tuple[PublicKey, Subject]:
    """Read a signing request: its key, and the CN and names that it wishes for.

    What to grant of the wishes is the operator's decision, not the request's.

    Raises:
        ConfigurationError: it cannot be read, does not prove that its maker has the key, or its
            key is weak or of a kind we do not sign.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        is_proven = request.is_signature_valid
        common_name, names = read_common_name(request.subject), read_names(request)
    except PARSE_FAULTS as error:
        raise _no_request("no readable signing request (PEM)") from error
    if not is_proven:
        raise _no_request("the request's own signature is wrong")
    if not isinstance(key, PublicKey) or is_weak_key(key):
        raise _no_request("the request's key is weak or of a kind that is not signed")
    return key, Subject(common_name, names)


def _no_request(problem: str) -> ConfigurationError:
    remedy = "make one with `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 ...`"
    return ConfigurationError(problem, remedy=remedy)


def pack_pkcs12(
    name: str,
    key: PrivateKey,
    certificate: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    password: bytes,
) -> bytes:
    """Pack key, certificate and issuers as PKCS#12, with AES-256 and HMAC-SHA-256.

    OpenSSL from 1.1, Java from 8u301 and Windows from 10 1709 and Server 2019 read it.
    """
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password)
    )
    return pkcs12.serialize_key_and_certificates(
        name.encode(), key, certificate, issuers, encryption
    )
