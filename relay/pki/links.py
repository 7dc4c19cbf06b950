"""May a certificate stand at its place in a chain? As its leaf, or as a CA above others.

Looks at one certificate at a time, and at what stands below it where a rule counts that. Knows
nothing of how chains are found (`chain.py`); signatures are verified there. RFC 5280 4.2 and 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from relay.model import TrustStatus
from relay.pki.signatures import is_broken_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from relay.pki.certificate import Certificate

__all__ = [
    "TLS_PURPOSES",
    "Fault",
    "fault_of_ca",
    "fault_of_leaf",
    "has_weak_signature",
    "is_self_issued",
    "is_weak_key",
]

TLS_PURPOSES: Final = frozenset(
    {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
"""Extended key usages that speak of TLS."""

MAX_RSA_BITS: Final = 8192
"""Longer keys prove no more, and make us work."""

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.OCSP_NO_CHECK,
        ExtensionOID.TLS_FEATURE,
        # Any policy will do here, so naming some changes nothing; extensions that demand one
        # (policy constraints, inhibitAnyPolicy) are not among these.
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
"""Extensions that may be critical."""


class Fault(NamedTuple):
    """Why a certificate may not stand where it does."""

    status: TrustStatus
    reason: str


def fault_of_leaf(leaf: Certificate, now: datetime) -> Fault | None:
    """Judge a leaf. What it may be used for is not judged here. Raises MalformedCertificate."""
    return _fault_of_any(leaf, now, "the certificate", is_signature_moot=is_self_issued(leaf))


def fault_of_ca(
    ca: Certificate,
    below: Sequence[Certificate],
    now: datetime,
    *,
    is_anchor: bool,
    purposes: AbstractSet[x509.ObjectIdentifier] = TLS_PURPOSES,
) -> Fault | None:
    """Judge a CA.

    Args:
        ca: the CA's certificate.
        below: the path so far, leaf first: what this CA would stand above.
        now: the time to judge by.
        is_anchor: whether it is trusted as it is; nobody asks then who has signed it.
        purposes: one of these it must be for, if it says what it is for at all.

    Raises:
        MalformedCertificate: it cannot be read.
    """
    who = f"the CA certificate {ca.subject}"
    fault = _fault_of_any(ca, now, who, is_signature_moot=is_anchor)
    return fault or _fault_of_role(ca, below, purposes)


def _fault_of_any(
    certificate: Certificate, now: datetime, who: str, *, is_signature_moot: bool
) -> Fault | None:
    if now > certificate.not_after:
        return Fault(TrustStatus.EXPIRED, f"{who} expired on {certificate.not_after:%Y-%m-%d}")
    if now < certificate.not_before:
        since = f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"
        return Fault(TrustStatus.NOT_YET_VALID, f"{who} is not valid before {since}")
    if not is_signature_moot and has_weak_signature(certificate):
        return Fault(TrustStatus.WEAK_KEY, f"{who} is signed with a broken digest")
    key = certificate.public_key
    if is_weak_key(key):
        return Fault(TrustStatus.WEAK_KEY, f"{who} has a weak key")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size > MAX_RSA_BITS:
        return Fault(
            TrustStatus.UNTRUSTED, f"{who} has an RSA key of more than {MAX_RSA_BITS} bits"
        )
    if certificate.x509.version is not x509.Version.v3:
        return Fault(TrustStatus.UNTRUSTED, f"{who} is not of version 3")
    # RFC 5280 4.2: a critical extension that is not understood must not be passed over
    if any(each.critical and each.oid not in _UNDERSTOOD for each in certificate.extensions):
        return Fault(TrustStatus.UNTRUSTED, f"{who} has a critical extension that is not known")
    return None


def _fault_of_role(
    ca: Certificate, below: Sequence[Certificate], purposes: AbstractSet[x509.ObjectIdentifier]
) -> Fault | None:
    constraints = ca.extension(x509.BasicConstraints)
    if constraints is None or not constraints.ca:  # RFC 5280 6.1.4 (k)
        return _untrusted(f"{ca.subject} is used as a CA and is none")
    usage = ca.extension(x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:  # RFC 5280 6.1.4 (n)
        return _untrusted(f"{ca.subject} may not sign certificates, says its key usage")
    stated = ca.extension(x509.ExtendedKeyUsage)
    if stated is not None and purposes.isdisjoint(stated):
        return _untrusted(f"{ca.subject} is no CA for this use, says its extended key usage")
    if constraints.path_length is not None:
        # RFC 5280 4.2.1.9: certificates that a CA has given itself do not count
        counted = sum(not is_self_issued(each) for each in below[1:])
        if counted > constraints.path_length:
            return _untrusted(f"{ca.subject} has more CAs below it than it may have")
    return None


def _untrusted(reason: str) -> Fault:
    return Fault(TrustStatus.UNTRUSTED, reason)


def is_self_issued(certificate: Certificate) -> bool:
    """Whether subject and issuer are the same (RFC 5280 3.2); its key may still be another's."""
    return certificate.subject == certificate.issuer


def has_weak_signature(certificate: Certificate) -> bool:
    """Whether it is signed over MD5 or SHA-1 (RFC 9155). Raises MalformedCertificate."""
    return is_broken_hash(certificate.signature_hash)


def is_weak_key(key: CertificatePublicKeyTypes) -> bool:
    """Whether a key is below 112 bits of strength: RSA under 2048, EC under 256, any DSA."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size < 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size < 256
    return isinstance(key, dsa.DSAPublicKey)
