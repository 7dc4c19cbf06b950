"""Enrolment over Secure Transport as bytes: what is asked for, what may be granted, what is answered.

Pure: knows nothing of HTTP, of invitations or of the CA's folder. RFC 7030, RFC 8951 (bodies are
base64, whatever the header fields say), RFC 2986 (requests).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    pkcs7,
)
from cryptography.x509.oid import AttributeOID

from relay.errors import ConfigurationError
from relay.pki.certificate import PARSE_FAULTS, Certificate
from relay.pki.issuing import PublicKey, Subject, read_wish

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CSR_ATTRIBUTES",
    "Credentials",
    "Request",
    "encode_certificates",
    "encode_request",
    "excess_of",
    "parse_certificates",
    "parse_credentials",
    "parse_request",
]

_MAX_CERTIFICATES: Final = 10

CSR_ATTRIBUTES: Final = base64.b64encode(
    # RFC 7030 4.5.2: SEQUENCE { SEQUENCE { id-ecPublicKey, SET { secp256r1 } }, ecdsa-with-SHA256 }
    bytes.fromhex("3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302")
)
"""What a client without an opinion should ask for: an EC key on P-256."""


class Request(NamedTuple):
    """A signing request that proves its key: what it wishes for, and what binds it to its connection."""

    key: PublicKey
    wish: Subject
    spki_sha256: str
    challenge: bytes | None


class Credentials(NamedTuple):
    """A name and a secret, as HTTP's Basic authentication carries them (RFC 7617)."""

    name: str
    secret: str


def parse_request(body: bytes) -> Request:
    """Read the body of simpleenroll or simplereenroll.

    Raises:
        ConfigurationError: it is no signing request, proves nothing, or its key is not one we sign.
    """
    der = _from_base64(body)
    try:
        request = x509.load_der_x509_csr(der)
        challenge = _challenge_of(request)
    except PARSE_FAULTS as error:
        raise _no_request("no readable PKCS #10") from error
    key, wish = read_wish(request)
    # As the certificate will have it, whatever form the request has: that is what a pin is made of.
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Request(key, wish, hashlib.sha256(spki).hexdigest(), challenge)


def encode_request(request: x509.CertificateSigningRequest) -> bytes:
    """Make the body that `parse_request` reads."""
    return base64.encodebytes(request.public_bytes(Encoding.DER))


def excess_of(wish: Subject, granted: Subject) -> str:
    """Say what a request wishes for beyond what is granted; "" if nothing.

    Who asks for less, or for nothing, gets what is granted: the names are ours to give.
    """
    if wish.common_name not in {"", granted.common_name}:
        return f"the common name is {granted.common_name}"
    if not set(wish.names) <= set(granted.names):
        return f"the alternative names are {', '.join(granted.names) or 'none'}"
    return ""


def encode_certificates(certificates: Iterable[Certificate]) -> bytes:
    """Pack certificates as certs-only PKCS #7, in base64 (RFC 7030 4.1.3, 4.2.3)."""
    parsed = [each.x509 for each in certificates]
    return base64.encodebytes(pkcs7.serialize_certificates(parsed, Encoding.DER))


def parse_certificates(body: bytes) -> tuple[Certificate, ...]:
    """Read what `encode_certificates` makes, in the order of the message.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        found = pkcs7.load_der_pkcs7_certificates(_from_base64(body))
    except (ConfigurationError, *PARSE_FAULTS) as error:
        raise ConfigurationError(
            "the answer holds no certificates", remedy="ask whoever runs the server"
        ) from error
    return tuple(Certificate(each) for each in found[:_MAX_CERTIFICATES])


def parse_credentials(field: str) -> Credentials | None:
    """Read an Authorization header field; None if it is no Basic (RFC 7617 2)."""
    scheme, _, encoded = field.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = (
            base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        )
    except (ValueError, binascii.Error):
        return None
    return Credentials(name, secret) if colon else None


def _challenge_of(request: x509.CertificateSigningRequest) -> bytes | None:
    try:
        return request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value
    except x509.AttributeNotFound:
        return None


def _from_base64(body: bytes) -> bytes:
    """RFC 8951 2: white space anywhere is to be accepted; PEM is what curl users send."""
    lines = [line for line in body.split(b"\n") if not line.startswith(b"-----")]
    try:
        return base64.b64decode(b"".join(b"".join(lines).split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _no_request("no base64") from error


def _no_request(problem: str) -> ConfigurationError:
    remedy = "send a PKCS #10 request in base64"
    return ConfigurationError(problem, remedy=remedy)
