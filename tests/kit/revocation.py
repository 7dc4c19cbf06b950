"""Revocation lists and OCSP answers for tests: good ones, and any kind of bad one.

Knows nothing of how the relay reads them (`relay.pki.crl`, `relay.pki.ocsp`), so the two can judge
each other.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.kit.pki import Authority, Issued, Key

    Revoked = int | Issued | tuple[int, str]

__all__ = ["NOW", "make_answer", "make_crl", "point", "pretend_crl", "to_der"]

NOW = datetime.now(UTC).replace(microsecond=0)
"""The time that the lists and answers made here are of."""


def make_crl(
    authority: Authority,
    revoked: Iterable[Revoked] = (),
    *,
    number: int | None = 1,
    base: int | None = None,
    at: datetime = NOW,
    until: datetime | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    key: Key | None = None,
    entry_extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    pss: bool = False,
) -> bytes:
    """Make a CRL in DER; `revoked` are certificates, serials, or serials with a reason's word."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.name)
        .last_update(at)
        .next_update(until or at + timedelta(days=7))
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for each in revoked:
        builder = builder.add_revoked_certificate(_entry(each, at, entry_extensions))
    signer = key or authority.key
    rsa_padding = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else None
    signed = builder.sign(signer, _digest(signer), rsa_padding=rsa_padding)
    return signed.public_bytes(Encoding.DER)


def _digest(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _entry(
    revoked: Revoked, at: datetime, extensions: Sequence[tuple[x509.ExtensionType, bool]]
) -> x509.RevokedCertificate:
    reason = ""
    if isinstance(revoked, tuple):
        serial, reason = revoked
    else:
        serial = revoked if isinstance(revoked, int) else revoked.cert.serial_number
    builder = x509.RevokedCertificateBuilder().serial_number(serial)
    builder = builder.revocation_date(at - timedelta(days=1))
    if reason:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def point(
    *urls: str,
    user: bool = False,
    ca: bool = False,
    attribute: bool = False,
    indirect: bool = False,
    some_reasons: bool = False,
    relative: bool = False,
) -> tuple[x509.ExtensionType, bool]:
    """Make the issuing distribution point of a partitioned CRL."""
    name = x509.NameAttribute(x509.NameOID.COMMON_NAME, "part")
    return (
        x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(url) for url in urls] or None,
            relative_name=x509.RelativeDistinguishedName([name]) if relative else None,
            only_contains_user_certs=user,
            only_contains_ca_certs=ca,
            only_some_reasons=frozenset({x509.ReasonFlags.superseded}) if some_reasons else None,
            indirect_crl=indirect,
            only_contains_attribute_certs=attribute,
        ),
        True,
    )


def to_der(tag: int, *contents: bytes) -> bytes:
    """Put contents, joined, into one DER element."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def pretend_crl(
    authority: Authority,
    entries: Iterable[bytes],
    *,
    until: bytes | None = None,
    weak: bool = False,
) -> bytes:
    """Make a CRL of entries given in DER, correctly signed: what no proper builder would make.

    The authority's key is an EC key; `until` stands in place of nextUpdate; `weak` signs with SHA-1.
    """
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    algorithm = _ECDSA_SHA1 if weak else _ECDSA_SHA256
    week = to_der(0x17, f"{NOW + timedelta(days=7):%y%m%d%H%M%S}Z".encode())
    listed = b"".join(entries)
    signed = to_der(
        0x30,
        b"\x02\x01\x01",
        algorithm,
        authority.name.public_bytes(),
        to_der(0x17, f"{NOW:%y%m%d%H%M%S}Z".encode()),
        week if until is None else until,
        to_der(0x30, listed) if listed else b"",
    )
    digest = hashes.SHA1() if weak else hashes.SHA256()
    signature = authority.key.sign(signed, ec.ECDSA(digest))
    return to_der(0x30, signed, algorithm, to_der(0x03, b"\0", signature))


def make_answer(
    leaf: Issued,
    authority: Authority,
    *,
    status: str = "good",
    at: datetime = NOW,
    until: datetime | None = NOW + timedelta(days=1),
    nonce: bytes | None = None,
    signer: Issued | None = None,
    about: Issued | None = None,
    named_by: hashes.HashAlgorithm | None = None,
) -> bytes:
    """Make an OCSP answer in DER, of the CA itself or of `signer`."""
    word = ocsp.OCSPCertStatus[status.upper()]
    is_revoked = word is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=(about or leaf).cert,
        issuer=authority.cert,
        algorithm=named_by or hashes.SHA1(),
        cert_status=word,
        this_update=at,
        next_update=until,
        revocation_time=at - timedelta(days=1) if is_revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None,
    )
    responder = signer.cert if signer else authority.cert
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder)
    if signer:
        builder = builder.certificates([signer.cert])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    key = signer.key if signer else authority.key
    return builder.sign(key, _digest(key)).public_bytes(Encoding.DER)
