"""OCSP as a client: the question about a certificate, and what an answer is worth.

Bytes and a time come in; knows nothing of HTTP, of caches or of what a session does with the outcome.
An answer counts only if all of this holds: the CA itself has signed it, or someone whom it has
directly certified for that (OCSPSigning); it is about this certificate; it is neither too old nor
from the future; its nonce, if there is one, is ours. RFC 6960, RFC 9654 (nonces), RFC 5019 (profile).
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.pki.certificate import PARSE_FAULTS, Certificate, MalformedCertificate
from relay.pki.revocation import Answer, Outcome
from relay.pki.signatures import is_broken_hash, is_signed_by

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

__all__ = ["MAX_RESPONSE_BYTES", "OcspAnswer", "build_request", "judge_response", "request_url"]

MAX_RESPONSE_BYTES: Final = 64 * 1024
"""An answer with the responder's chain takes a few kilobytes."""

MAX_RESPONDERS: Final = 4
"""Certificates looked at in an answer: more would only keep us verifying signatures."""

MAX_GET_BYTES: Final = 255
"""RFC 5019 5: what is longer is sent by POST."""

CLOCK_SKEW: Final = timedelta(minutes=5)

_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
}
_STATUSES: Final = {
    ocsp.OCSPResponseStatus.MALFORMED_REQUEST: "the responder did not understand the request",
    ocsp.OCSPResponseStatus.INTERNAL_ERROR: "the responder has an internal error",
    ocsp.OCSPResponseStatus.TRY_LATER: "the responder asks to try later",
    ocsp.OCSPResponseStatus.SIG_REQUIRED: "the responder wants signed requests",
    ocsp.OCSPResponseStatus.UNAUTHORIZED: "the responder does not answer for this certificate",
}
"""Nobody has signed these, so whoever is in between could have sent them: no usable answer."""


class OcspAnswer(NamedTuple):
    """What an answer is worth.

    `responder` is "issuer" or "delegated", "" if nobody may have signed it. `delegate` is the certificate of a
    delegated responder that may be revoked itself; None for one that is exempt (id-pkix-ocsp-nocheck, RFC 6960
    4.2.2.2.1).
    """

    answer: Answer
    responder: str = ""
    delegate: Certificate | None = None

    @property
    def outcome(self) -> Outcome:
        """The outcome of the answer."""
        return self.answer.outcome


def build_request(
    certificate: Certificate,
    issuer: Certificate,
    *,
    nonce: bytes | None = None,
    digest: Literal["sha1", "sha256"] = "sha1",
) -> bytes:
    """Make the request about one certificate, in DER.

    Args:
        certificate: the one asked about.
        issuer: its CA.
        nonce: 1 to 128 random bytes (RFC 9654: 32); None to allow answers made in advance.
        digest: names the CA; not every responder knows another than SHA-1, and nothing hangs on it.

    Raises:
        MalformedCertificate: one of them cannot be read.
    """
    question = _question(certificate, issuer, _HASHES[digest](), nonce)
    return question.public_bytes(Encoding.DER)


def _question(
    certificate: Certificate,
    issuer: Certificate,
    digest: hashes.HashAlgorithm,
    nonce: bytes | None = None,
) -> ocsp.OCSPRequest:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate.x509, issuer.x509, digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build()


def request_url(url: str, request: bytes) -> str | None:
    """Return the address to GET the answer from, where caches can keep it; None: POST the request.

    RFC 6960 A.1, RFC 5019 5.
    """
    if "?" in url or "#" in url:
        return None
    whole = f"{url.removesuffix('/')}/{quote(base64.b64encode(request), safe='')}"
    return whole if len(whole) <= MAX_GET_BYTES else None


class _Refused(Exception):
    """The answer does not count; the text says why."""


def judge_response(
    response: bytes,
    certificate: Certificate,
    issuer: Certificate,
    now: datetime,
    *,
    nonce: bytes | None = None,
    is_nonce_required: bool = False,
    skew: timedelta = CLOCK_SKEW,
    max_age: timedelta = timedelta(days=10),
    lifetime: timedelta = timedelta(hours=1),
) -> OcspAnswer:
    """Say what an answer is worth; never raises for what is in it.

    Args:
        response: the answer, in DER.
        certificate: the certificate that was asked about.
        issuer: its CA, already verified.
        now: the time to judge by.
        nonce: the nonce of the request. Another one in the answer is refused; none is accepted
            unless it is required, for most responders make their answers in advance.
        is_nonce_required: whether an answer must have it.
        skew: how far apart the clocks may be.
        max_age: an answer older than this is stale, whatever it says itself.
        lifetime: how long an answer counts that does not say so itself.

    Returns:
        The outcome; its answer's `next_update` is the moment when it ceases to count.

    Raises:
        MalformedCertificate: the certificate or its CA cannot be read.
    """
    try:
        basic = _read(response)
        responder, delegate = _authorise(basic, issuer, now)
        _check_nonce(basic, nonce, is_required=is_nonce_required)
        single = _find_single(basic, certificate, issuer)
        answer = _judge_single(single, _end_of(single, max_age, lifetime), now, skew)
    except _Refused as refused:
        return OcspAnswer(Answer(Outcome.UNREACHABLE, str(refused)))
    except PARSE_FAULTS:
        return OcspAnswer(Answer(Outcome.UNREACHABLE, "the answer cannot be read"))
    return OcspAnswer(answer, responder, delegate)


def _read(response: bytes) -> ocsp.OCSPResponse:
    if len(response) > MAX_RESPONSE_BYTES:
        raise _Refused("the answer is too large")
    basic = ocsp.load_der_ocsp_response(response)
    if basic.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _Refused(_STATUSES[basic.response_status])
    if _has_unknown_critical((*basic.extensions, *basic.single_extensions)):
        raise _Refused("the answer has a critical extension that is not known")
    return basic


# --- may its signer speak for the CA? (RFC 6960 4.2.2.2) --------------------------------------


def _authorise(
    basic: ocsp.OCSPResponse, issuer: Certificate, now: datetime
) -> tuple[str, Certificate | None]:
    """Return who has signed, and its certificate if it may be revoked; raises _Refused."""
    if is_broken_hash(basic.signature_hash_algorithm):
        raise _Refused("the answer is signed with a broken digest (MD5 or SHA-1)")
    if _has_signed(issuer.public_key, basic):
        return "issuer", None
    reason = "the answer is not signed by the CA, nor by a responder of it"
    for parsed in basic.certificates[:MAX_RESPONDERS]:
        delegate = Certificate(parsed)
        try:
            if not _has_signed(delegate.public_key, basic):
                continue
            problem = _fault_of_delegate(delegate, issuer, now)
            if problem is None:
                is_exempt = delegate.extension(x509.OCSPNoCheck) is not None
                return "delegated", None if is_exempt else delegate
        except MalformedCertificate:
            problem = "its certificate cannot be read"
        reason = f"the answer is signed by a responder that may not: {problem}"
    raise _Refused(reason)


def _has_signed(key: CertificatePublicKeyTypes, basic: ocsp.OCSPResponse) -> bool:
    signed, algorithm = basic.tbs_response_bytes, basic.signature_hash_algorithm
    return is_signed_by(key, basic.signature, signed, algorithm)


def _fault_of_delegate(delegate: Certificate, issuer: Certificate, now: datetime) -> str | None:
    if is_broken_hash(delegate.signature_hash):
        return "its certificate is signed with a broken digest"
    try:
        delegate.x509.verify_directly_issued_by(issuer.x509)
    except (*PARSE_FAULTS, InvalidSignature):
        return "the CA has not issued its certificate"
    if not delegate.not_before <= now <= delegate.not_after:
        return "its certificate is not valid now"
    purposes = delegate.extension(x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return "its certificate is not for OCSP signing"
    usage = delegate.extension(x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "its certificate is not for signing"
    if _has_unknown_critical(delegate.extensions):
        return "its certificate has a critical extension that is not known"
    return None


def _has_unknown_critical(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> bool:
    return any(
        each.critical and isinstance(each.value, x509.UnrecognizedExtension) for each in extensions
    )


# --- is it our answer, and is it still true? --------------------------------------------------


def _check_nonce(basic: ocsp.OCSPResponse, nonce: bytes | None, *, is_required: bool) -> None:
    found = next(
        (each.value.nonce for each in basic.extensions if isinstance(each.value, x509.OCSPNonce)),
        None,
    )
    if found is None and nonce is not None and is_required:
        raise _Refused("the answer has no nonce")
    if found is not None and nonce is not None and found != nonce:
        raise _Refused("the answer's nonce is not ours: it was made for another request")


def _find_single(
    basic: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate
) -> ocsp.OCSPSingleResponse:
    """Return the newest answer about the certificate; raises _Refused if there is none."""
    found = [each for each in basic.responses if _is_about(each, certificate, issuer)]
    if not found:
        raise _Refused("the answer is about another certificate")
    return max(found, key=lambda each: each.this_update_utc)


def _is_about(
    single: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate
) -> bool:
    if single.serial_number != int(certificate.serial, 16):
        return False
    # the responder may name the CA with another digest than we did (RFC 6960 4.1.1)
    ours = _question(certificate, issuer, single.hash_algorithm)
    return (single.issuer_name_hash, single.issuer_key_hash) == (
        ours.issuer_name_hash,
        ours.issuer_key_hash,
    )


def _end_of(single: ocsp.OCSPSingleResponse, max_age: timedelta, lifetime: timedelta) -> datetime:
    this, following = single.this_update_utc, single.next_update_utc
    if following is None:  # RFC 6960 4.2.2.1: newer information is available all the time
        return this + min(lifetime, max_age)
    return min(following, this + max_age)


def _judge_single(
    single: ocsp.OCSPSingleResponse, end: datetime, now: datetime, skew: timedelta
) -> Answer:
    this = single.this_update_utc
    if this > now + skew:
        raise _Refused(f"the answer is from the future: {this:%Y-%m-%d %H:%M} UTC")
    if end < this:
        raise _Refused("the answer ends before it begins")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        # however old: nobody takes a revocation back but for a hold, and then a newer answer says so
        return _revoked(single, end)
    if now - skew > end:
        return Answer(
            Outcome.STALE, f"the answer counted until {end:%Y-%m-%d %H:%M} UTC", this, end
        )
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return Answer(Outcome.UNKNOWN, "the responder does not know the certificate", this, end)
    return Answer(Outcome.GOOD, "the responder knows it as good", this, end)


def _revoked(single: ocsp.OCSPSingleResponse, end: datetime) -> Answer:
    why = single.revocation_reason.value if single.revocation_reason else "unspecified"
    when = single.revocation_time_utc
    reason = f"it was revoked on {when:%Y-%m-%d} ({why})" if when else f"it was revoked ({why})"
    return Answer(Outcome.REVOKED, reason, single.this_update_utc, end, when)
