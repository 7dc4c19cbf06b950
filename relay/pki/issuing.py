"""Our own small CA: root, intermediate, leaves, revocation lists, signed requests, PKCS#12 files.

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
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from relay.errors import ConfigurationError
from relay.pki.certificate import PARSE_FAULTS, read_common_name, read_names
from relay.pki.links import is_weak_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = [
    "Issuer",
    "PrivateKey",
    "PublicKey",
    "Publication",
    "Revoked",
    "Subject",
    "Validity",
    "issue_crl",
    "issue_intermediate",
    "issue_leaf",
    "issue_root",
    "pack_pkcs12",
    "read_request",
    "read_wish",
]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Validity(NamedTuple):
    """From when until when; both ends belong to it."""

    not_before: datetime
    not_after: datetime


class Publication(NamedTuple):
    """Where an issuer's list and its OCSP responder are; "" for nowhere."""

    crl_url: str = ""
    ocsp_url: str = ""


class Issuer(NamedTuple):
    """A CA certificate and its key; what it signs says where to ask about it."""

    certificate: x509.Certificate
    key: PrivateKey
    published: Publication = Publication()


class Revoked(NamedTuple):
    """An entry of a revocation list."""

    serial: int
    at: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified


class Subject(NamedTuple):
    """Whom a leaf is for: its CN, its names ("dns:...", "uri:..." as in the allowlist), its use.

    A client's certificate is for TLS clients only; a server's for both, as an MTA needs it.
    """

    common_name: str
    names: tuple[str, ...] = ()
    purpose: Literal["client", "server"] = "client"


def issue_root(name: str, key: PrivateKey, serial: int, validity: Validity) -> x509.Certificate:
    """Make a self-signed CA certificate; one more CA may stand below it."""
    subject = _name(name)
    builder = _builder(subject, subject, key.public_key(), serial, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _signed(builder, key)


def issue_intermediate(
    name: str,
    public_key: PublicKey,
    root: Issuer,
    serial: int,
    validity: Validity,
) -> x509.Certificate:
    """Sign the certificate of a CA that may sign leaves and no CAs."""
    builder = _below(name, public_key, root, serial, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _signed(builder, root.key)


def issue_leaf(
    subject: Subject,
    public_key: PublicKey,
    issuer: Issuer,
    serial: int,
    validity: Validity,
) -> x509.Certificate:
    """Sign a certificate for a client or a server; it never outlives its issuer."""
    builder = _below(subject.common_name, public_key, issuer, serial, validity)
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
    return _signed(builder, issuer.key)


def issue_crl(
    issuer: Issuer, revoked: Iterable[Revoked], number: int, now: datetime, next_update: datetime
) -> x509.CertificateRevocationList:
    """Sign a complete list. An entry stays on it for ever: a signature may be older than its key."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_identifier(issuer), critical=False)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(each.at)
        if each.reason is not x509.ReasonFlags.unspecified:  # RFC 5280 5.3.1: leave it out then
            entry = entry.add_extension(x509.CRLReason(each.reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, _digest(issuer.key))


def _below(
    name: str,
    public_key: PublicKey,
    issuer: Issuer,
    serial: int,
    validity: Validity,
) -> x509.CertificateBuilder:
    """Begin a certificate below an issuer, whom it never outlives, with where to ask about it."""
    until = min(validity.not_after, issuer.certificate.not_valid_after_utc)
    builder = _builder(
        _name(name),
        issuer.certificate.subject,
        public_key,
        serial,
        Validity(validity.not_before, until),
    ).add_extension(_identifier(issuer), critical=False)
    if issuer.published.crl_url:  # RFC 5280 4.2.1.13
        uri = x509.UniformResourceIdentifier(issuer.published.crl_url)
        points = [x509.DistributionPoint([uri], None, None, None)]
        builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
    if issuer.published.ocsp_url:  # RFC 5280 4.2.2.1
        uri = x509.UniformResourceIdentifier(issuer.published.ocsp_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder


def _identifier(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


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
        digital_signature=True,  # a CA signs OCSP answers with it
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


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, _digest(key))


def _digest(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def read_request(pem: bytes) -> tuple[PublicKey, Subject]:
    """Read a signing request: its key, and the CN and names that it wishes for.

    What to grant of the wishes is the operator's decision, not the request's.

    Raises:
        ConfigurationError: it cannot be read, does not prove that its maker has the key, or its
            key is weak or of a kind we do not sign.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
    except PARSE_FAULTS as error:
        raise _no_request("no readable signing request (PEM)") from error
    return read_wish(request)


def read_wish(request: x509.CertificateSigningRequest) -> tuple[PublicKey, Subject]:
    """Read a parsed signing request. Raises as `read_request`."""
    try:
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
