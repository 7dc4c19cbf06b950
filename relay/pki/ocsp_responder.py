"""OCSP as a responder: the answer of our own CA to a request.

Bytes in, bytes out; knows nothing of HTTP or of where revocations are kept. RFC 6960, RFC 9654.
The time of production in an answer is the machine's: `cryptography` gives no choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from relay.pki.certificate import PARSE_FAULTS

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from relay.pki.issuing import PrivateKey

__all__ = ["IssuedStatus", "Responder", "StatusOfSerial", "answer_request"]

MAX_REQUEST_BYTES: Final = 4096
"""A request about one certificate takes some hundred bytes."""

MAX_NONCE_BYTES: Final = 128
"""RFC 9654 2.1."""


class Responder(NamedTuple):
    """Who answers: the CA itself, or one it has certified for OCSPSigning."""

    issuer: x509.Certificate
    certificate: x509.Certificate
    key: PrivateKey


class IssuedStatus(NamedTuple):
    """A certificate that the CA has issued; `revoked_at` None: it is good."""

    revoked_at: datetime | None = None
    reason: x509.ReasonFlags | None = None


class StatusOfSerial(Protocol):
    """The CA's records."""

    def __call__(self, serial: int, /) -> IssuedStatus | None:
        """Return the status of a serial number, None if the CA has never issued it."""
        ...


def answer_request(
    request: bytes,
    status_of: StatusOfSerial,
    responder: Responder,
    now: datetime,
    valid_for: timedelta,
) -> bytes:
    """Answer a request; always with an OCSP response in DER, whatever comes in.

    A certificate of another CA, or a serial number that was never issued, is unknown. Requests
    about several certificates are malformed here (RFC 5019 2.1.1 has one each).
    """
    try:
        question = _read(request)
        return _answer(question, status_of, responder, now, valid_for)
    except (*PARSE_FAULTS, NotImplementedError):
        failure = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
        return ocsp.OCSPResponseBuilder.build_unsuccessful(failure).public_bytes(Encoding.DER)


def _read(request: bytes) -> ocsp.OCSPRequest:
    """Raises one of PARSE_FAULTS, or NotImplementedError for several certificates."""
    if len(request) > MAX_REQUEST_BYTES:
        raise ValueError("too large")
    question = ocsp.load_der_ocsp_request(request)
    for extension in question.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise ValueError("a critical extension that is not known")
        if isinstance(extension.value, x509.OCSPNonce) and not (
            1 <= len(extension.value.nonce) <= MAX_NONCE_BYTES
        ):
            raise ValueError("a nonce of that length")
    return question


def _answer(
    question: ocsp.OCSPRequest,
    status_of: StatusOfSerial,
    responder: Responder,
    now: datetime,
    valid_for: timedelta,
) -> bytes:
    found = status_of(question.serial_number) if _is_ours(question, responder.issuer) else None
    revoked_at = found.revoked_at if found else None
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=question.issuer_name_hash,
        issuer_key_hash=question.issuer_key_hash,
        serial_number=question.serial_number,
        algorithm=question.hash_algorithm,
        cert_status=_word_for(found),
        this_update=now,
        next_update=now + valid_for,
        revocation_time=revoked_at,
        revocation_reason=found.reason if found and revoked_at else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    if responder.certificate != responder.issuer:
        builder = builder.certificates([responder.certificate])
    for extension in question.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            builder = builder.add_extension(extension.value, critical=False)
    digest = None if isinstance(responder.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(responder.key, digest).public_bytes(Encoding.DER)


def _word_for(found: IssuedStatus | None) -> ocsp.OCSPCertStatus:
    if found is None:
        return ocsp.OCSPCertStatus.UNKNOWN
    return ocsp.OCSPCertStatus.REVOKED if found.revoked_at else ocsp.OCSPCertStatus.GOOD


def _is_ours(question: ocsp.OCSPRequest, issuer: x509.Certificate) -> bool:
    """Whether the request names our CA, by name and key."""
    ours = (
        ocsp.OCSPRequestBuilder().add_certificate(issuer, issuer, question.hash_algorithm).build()
    )
    name = hashes.Hash(
        question.hash_algorithm
    )  # of the builder it is the root's, for an intermediate
    name.update(issuer.subject.public_bytes())
    return (question.issuer_name_hash, question.issuer_key_hash) == (
        name.finalize(),
        ours.issuer_key_hash,
    )
