"""Certificates and keys as the operator has them in files: read, and checked against each other.

It does not know which setting names a file: its errors have no place, `material.py` adds it. Whom
to trust is not decided here. RFC 7468 (PEM), RFC 8446 4.4.2 (the order of a chain).
"""

from __future__ import annotations

import ssl
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.utils import CryptographyDeprecationWarning

from relay.config import read_file
from relay.errors import ConfigurationError
from relay.net.tls import KeyPair
from relay.pki.certificate import Certificate, MalformedCertificate, parse_pem_chain

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = [
    "check_validity",
    "is_ca",
    "pair_up",
    "read_anchors",
    "read_certificates",
    "read_key",
    "read_system_store",
]

_SYSTEM_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine, BSD
)
_END = b"-----END CERTIFICATE-----"
_USABLE_KEYS = (
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)


def read_certificates(path: Path) -> tuple[Certificate, ...]:
    """Read a PEM file with at least one certificate.

    Raises:
        ConfigurationError: there is none in it, or one cannot be read.
    """
    pem = read_file(path)
    try:
        found = parse_pem_chain(pem)
        for certificate in found:
            certificate.x509.public_key()
            _ = certificate.extensions
    except (MalformedCertificate, UnsupportedAlgorithm, ValueError) as error:
        raise ConfigurationError(
            f"{path} holds a certificate that cannot be read ({_first_line(error)})",
            remedy=f'look at it with "openssl x509 -in {path} -text"',
        ) from None
    if found:
        return found
    if b"PRIVATE KEY-----" in pem:
        remedy = "it is a private key; `chain` and `key` may be the wrong way round"
    elif pem[:1] == b"0":
        remedy = f'it looks like DER; convert it with "openssl x509 -inform DER -in {path}"'
    else:
        remedy = "it should have -----BEGIN CERTIFICATE----- lines"
    raise ConfigurationError(f"{path} has no PEM certificate in it", remedy=remedy)


def read_anchors(path: Path) -> tuple[Certificate, ...]:
    """Read a PEM file of CAs.

    Raises:
        ConfigurationError: it cannot be read, or something in it is no CA.
    """
    found = read_certificates(path)
    for certificate in found:
        if not is_ca(certificate):
            raise ConfigurationError(
                f"{path} holds a certificate that is no CA ({certificate.subject})",
                remedy="name the file of the CA that issued it, or pin it instead",
            )
    return found


def is_ca(certificate: Certificate) -> bool:
    """Whether it may issue others; X.509 v1 roots, which cannot say so, are believed."""
    constraints = certificate.extension(x509.BasicConstraints)
    if constraints is not None:
        return constraints.ca
    parsed = certificate.x509
    return parsed.version is x509.Version.v1 and parsed.issuer == parsed.subject


def read_system_store() -> tuple[Certificate, ...]:
    """Read the CAs that this system trusts; what cannot be read among them is left out.

    Raises:
        ConfigurationError: there is no such file.
    """
    # The standard library knows where OpenSSL looks, $SSL_CERT_FILE included.
    by_openssl = ssl.get_default_verify_paths().cafile
    for candidate in (by_openssl, *_SYSTEM_STORES):
        if candidate and Path(candidate).is_file():
            return _readable_certificates(read_file(Path(candidate)))
    raise ConfigurationError(
        "this system has no CA certificates",
        remedy="install its package `ca-certificates`, or name a file in the route's `ca`",
    )


def _readable_certificates(pem: bytes) -> tuple[Certificate, ...]:
    found: list[Certificate] = []
    for block in pem.split(_END):
        try:
            # Some old roots have a serial number of 0; that need not trouble the operator.
            with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
                found += parse_pem_chain(block + _END)
        except MalformedCertificate:
            continue
    return tuple(found)


def read_key(path: Path) -> PrivateKeyTypes:
    """Read a private key from a PEM file, unencrypted.

    Raises:
        ConfigurationError: it cannot be read, is encrypted, or is of a kind that TLS cannot use.
    """
    pem = read_file(path)
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigurationError(
            f"{path} is encrypted",
            remedy=f'decrypt it ("openssl pkey -in {path} -out FILE") and keep the file at mode 0600',
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        remedy = "it should have a -----BEGIN PRIVATE KEY----- line"
        if _END in pem:
            remedy = "it is a certificate; `chain` and `key` may be the wrong way round"
        raise ConfigurationError(f"{path} has no PEM private key in it", remedy=remedy) from None
    if not isinstance(key, _USABLE_KEYS):
        raise ConfigurationError(
            f"{path} is a key of a kind that TLS cannot use", remedy="use EC P-256, Ed25519 or RSA"
        )
    return key


def pair_up(
    chain_path: Path, chain: tuple[Certificate, ...], key_path: Path, key: PrivateKeyTypes
) -> KeyPair:
    """Check that a chain is in order and that the key is its first certificate's.

    Raises:
        ConfigurationError: it is not so.
    """
    wanted = _public_bytes(key.public_key())
    owners = [_public_bytes(each.x509.public_key()) for each in chain]
    if wanted not in owners:
        raise ConfigurationError(
            f"{key_path} is not the key of {chain_path}",
            remedy="name the key that the certificate was requested with",
        )
    if wanted != owners[0]:
        raise ConfigurationError(
            f"{chain_path} does not begin with our own certificate",
            remedy="put it first, then the intermediates",
        )
    for position, (issued, issuer) in enumerate(pairwise(chain), start=1):
        if not _has_issued(issuer, issued):
            raise ConfigurationError(
                f"certificate {position + 1} in {chain_path} has not issued certificate {position}",
                remedy="put each certificate before the one that issued it, and no others",
            )
    return KeyPair(chain, key)


def check_validity(path: Path, certificate: Certificate, now: datetime) -> None:
    """Check that a certificate is valid at a time.

    Raises:
        ConfigurationError: not yet, or no longer.
    """
    if now > certificate.not_after:
        raise ConfigurationError(
            f"the certificate in {path} expired on {certificate.not_after:%Y-%m-%d}",
            remedy="renew it",
        )
    if now < certificate.not_before:
        raise ConfigurationError(
            f"the certificate in {path} is valid from {certificate.not_before:%Y-%m-%d %H:%M} UTC",
            remedy="wait, or check this machine's clock",
        )


def _has_issued(issuer: Certificate, issued: Certificate) -> bool:
    try:
        issued.x509.verify_directly_issued_by(issuer.x509)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
