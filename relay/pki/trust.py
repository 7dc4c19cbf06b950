"""Who is this? The one place where a presented certificate becomes an identity, or a refusal.

Pure: certificates, allowlist, anchors and time come in, a `TrustDecision` goes out. Knows nothing of
connections, listeners or replies.

The checks, in this order; the first that fails gives the status:

    what is looked at                               status if it fails      for pin   for pin   for
                                                                            only      + chain   name
    a certificate is there                          absent                  yes       yes       yes
    it can be read                                  malformed               yes       yes       yes
    an identity has its pin, else one of its names  unpinned                yes       yes       yes
    its names belong to one identity only           untrusted               -         -         yes
    the operator has not suspended it               suspended               yes       yes       yes
    the identity's own not_before, not_after        not_yet_valid, expired  yes       yes       yes
    RSA >= 2048, EC >= 256 bits, no DSA             weak_key                yes       yes       yes
    key usage, if stated: digitalSignature          wrong_usage             yes       yes       yes
    extended key usage, if stated                   wrong_usage             1         1         2
    dates of the certificate and its CAs            not_yet_valid, expired  -         yes       yes
    signatures stronger than SHA-1 (CAs': keys too) weak_key                -         yes       yes
    a path leads to an anchor (`chain.py`)          untrusted               -         yes       yes
    revocation, where a source is given             revoked, ..._unknown    yes       yes       yes
    (nothing failed)                                                        pinned    pinned    named

1: clientAuth, serverAuth or any: public CAs issue no clientAuth any more, and the pin says who it is.
2: clientAuth or any, and the same of its CAs: without a pin, a server's certificate is no proof that its
   holder may send.

A certificate pin goes before a key pin, any pin before a name. With "pin-only" the certificate may be
expired, self-signed or from nobody: the pin's own dates count. If a trusted CA does vouch for it, that
CA is asked about revocation all the same. RFC 5280, RFC 8446 4.4.2.4.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.model import TrustDecision, TrustStatus
from relay.pki.certificate import MalformedCertificate
from relay.pki.chain import Anchors, verify_chain
from relay.pki.links import TLS_PURPOSES, is_weak_key
from relay.pki.revocation import Mode, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from relay.model import Identity, Suspension
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.pki.revocation import Revocation

__all__ = ["Anchors", "decide"]

MAX_CERTIFICATE_BYTES: Final = 16 * 1024
"""Reading one with 2,048 names takes 45 ms: longer than a worker may stand still for a stranger."""

_TOO_LARGE: Final = f"a certificate is larger than {MAX_CERTIFICATE_BYTES} bytes"
_UNREADABLE: Final = "the certificate cannot be read"


class _Match(NamedTuple):
    identity: Identity
    key: str
    """The pin or the name that matched."""
    by_pin: bool


class _Judgement(NamedTuple):
    status: TrustStatus
    reason: str
    questions: tuple[str, ...] = ()


class _Found(NamedTuple):
    """What is known of revocation; `status` None: nothing speaks against it."""

    status: TrustStatus | None
    reason: str = ""
    questions: tuple[str, ...] = ()


class _Description(NamedTuple):
    """What the evidence says of a certificate; shared by all who present it, so never changed."""

    evidence: Mapping[str, str]
    is_whole: bool


def decide(
    certificates: Sequence[Certificate] | None,
    allowlist: Allowlist,
    anchors: Anchors,
    now: datetime,
    *,
    revocation: Revocation | None = None,
) -> TrustDecision:
    """Decide who has presented `certificates` (leaf first); never raises.

    Args:
        certificates: what the peer has sent; None or empty if nothing.
        allowlist: who is known.
        anchors: the CAs that vouch for names, and for chains where an identity wants one.
        now: the time to judge by.
        revocation: what is known of revocations; asked last, where there is any.
    """
    if not certificates:
        return TrustDecision(TrustStatus.ABSENT, None, "no client certificate was presented")
    leaf = certificates[0]
    if max(len(certificate.der) for certificate in certificates) > MAX_CERTIFICATE_BYTES:
        evidence = {"cert": f"cert:sha256:{leaf.sha256}", "chain_length": str(len(certificates))}
        return TrustDecision(TrustStatus.MALFORMED, None, _TOO_LARGE, evidence)
    described = leaf.derived(_describe)
    evidence = {**described.evidence, "chain_length": str(len(certificates))}
    if not described.is_whole:
        return TrustDecision(TrustStatus.MALFORMED, None, _UNREADABLE, evidence)
    try:
        matches = _find(leaf, allowlist)
        if not matches:
            reason = "no identity has its key or one of its names"
            return TrustDecision(TrustStatus.UNPINNED, None, reason, evidence)
        if len(matches) > 1:
            reason = f"its names belong to {len(matches)} identities"
            evidence["matched"] = " ".join(match.key for match in matches)
            return TrustDecision(TrustStatus.UNTRUSTED, None, reason, evidence)
        match = matches[0]
        evidence["matched"] = match.key
        status, reason, questions = (
            _refusal_of_identity(match.identity, now)
            or leaf.derived(_refusal_if_pinned if match.by_pin else _refusal_if_named)
            or _judge_chain(certificates, match, anchors, now, revocation, evidence)
        )
    except MalformedCertificate:
        return TrustDecision(TrustStatus.MALFORMED, None, _UNREADABLE, evidence)
    return TrustDecision(status, match.identity, reason, evidence, questions)


def _describe(leaf: Certificate) -> _Description:
    """Say what there is to say of a certificate, up to the first part that cannot be read."""
    evidence = {"cert": f"cert:sha256:{leaf.sha256}"}
    try:
        evidence["spki"] = f"spki:sha256:{leaf.spki_sha256}"
        evidence["subject"] = leaf.subject
        evidence["issuer"] = leaf.issuer
        evidence["serial"] = leaf.serial
        evidence["not_before"] = f"{leaf.not_before:%Y-%m-%dT%H:%M:%SZ}"
        evidence["not_after"] = f"{leaf.not_after:%Y-%m-%dT%H:%M:%SZ}"
        evidence["names"] = " ".join(leaf.names)
    except MalformedCertificate:
        return _Description(evidence, is_whole=False)
    return _Description(evidence, is_whole=True)


def _find(leaf: Certificate, allowlist: Allowlist) -> list[_Match]:
    """Find the identity of a pin, or all identities that names of the leaf belong to."""
    for pin in (f"cert:sha256:{leaf.sha256}", f"spki:sha256:{leaf.spki_sha256}"):
        if (identity := allowlist.with_pin(pin)) is not None:
            return [_Match(identity, pin, by_pin=True)]
    found: dict[str, _Match] = {}
    for name in leaf.names:
        if (identity := allowlist.with_name(name)) is not None:
            found.setdefault(identity.name, _Match(identity, name, by_pin=False))
    return list(found.values())


def _refusal_of_identity(identity: Identity, now: datetime) -> _Judgement | None:
    if identity.suspended is not None and not identity.suspended.is_over(now):
        return _Judgement(TrustStatus.SUSPENDED, _words_of(identity.suspended))
    if identity.not_before is not None and now < identity.not_before:
        since = f"{identity.not_before:%Y-%m-%d %H:%M} UTC"
        return _Judgement(TrustStatus.NOT_YET_VALID, f"the identity counts from {since}")
    if identity.not_after is not None and now > identity.not_after:
        until = f"{identity.not_after:%Y-%m-%d %H:%M} UTC"
        return _Judgement(TrustStatus.EXPIRED, f"the identity counted until {until}")
    return None


def _words_of(suspension: Suspension) -> str:
    words = "suspended"
    if suspension.by:
        words += f" by {suspension.by}"
    if suspension.at is not None:
        words += f" at {suspension.at:%Y-%m-%d %H:%M} UTC"
    if suspension.until is not None:
        words += f" until {suspension.until:%Y-%m-%d %H:%M} UTC"
    return f"{words}: {suspension.reason}"


def _refusal_of_leaf(leaf: Certificate, *, by_pin: bool) -> _Judgement | None:
    if is_weak_key(leaf.public_key):
        return _Judgement(TrustStatus.WEAK_KEY, "its key is weak: RSA needs 2048 bits, EC 256")
    usage = leaf.extension(x509.KeyUsage)
    # RFC 8446 4.4.2.4: TLS clients prove possession by signing
    if usage is not None and not usage.digital_signature:
        return _Judgement(TrustStatus.WRONG_USAGE, "its key usage lacks digitalSignature")
    purposes = leaf.extension(x509.ExtendedKeyUsage)
    if purposes is None or not _purposes(by_pin=by_pin).isdisjoint(purposes):
        return None
    if ExtendedKeyUsageOID.SERVER_AUTH in purposes:
        return _Judgement(TrustStatus.WRONG_USAGE, "it is for servers: only a pin can identify it")
    return _Judgement(TrustStatus.WRONG_USAGE, "its extended key usage is not for TLS clients")


_refusal_if_pinned = partial(_refusal_of_leaf, by_pin=True)
_refusal_if_named = partial(_refusal_of_leaf, by_pin=False)


def _purposes(*, by_pin: bool) -> frozenset[x509.ObjectIdentifier]:
    return TLS_PURPOSES if by_pin else TLS_PURPOSES - {ExtendedKeyUsageOID.SERVER_AUTH}


def _judge_chain(  # noqa: PLR0917  (private, and each is of another type)
    certificates: Sequence[Certificate],
    match: _Match,
    anchors: Anchors,
    now: datetime,
    revocation: Revocation | None,
    evidence: dict[str, str],
) -> _Judgement:
    """Verify the chain where one is wanted, ask for revocation; the rest is good."""
    path: Sequence[Certificate] = certificates[:1]
    is_required = not match.by_pin or match.identity.chain == "required"
    if is_required or revocation is not None:
        purposes = _purposes(by_pin=match.by_pin)
        verdict = verify_chain(certificates, anchors, now, purposes)
        if verdict.status is None:
            path = verdict.path
        elif is_required:
            return _Judgement(verdict.status, verdict.reason)
    questions: tuple[str, ...] = ()
    if revocation is not None:
        found = _ask_for_revocation(path, match.identity, now, revocation, evidence)
        if found.status is not None:
            return _Judgement(found.status, found.reason, found.questions)
        questions = found.questions
    if match.by_pin:
        what = "certificate" if match.key.startswith("cert:") else "key"
        return _Judgement(TrustStatus.PINNED, f"its {what} is pinned", questions)
    reason = f"{path[-1].subject} vouches for {match.key}"
    return _Judgement(TrustStatus.NAMED, reason, questions)


def _ask_for_revocation(
    path: Sequence[Certificate],
    identity: Identity,
    now: datetime,
    revocation: Revocation,
    evidence: dict[str, str],
) -> _Found:
    mode = revocation.mode_for(path, identity.revocation)
    evidence["revocation_mode"] = str(mode)
    if mode is Mode.OFF:
        return _Found(None)
    verdict = revocation.judge(path, now)
    evidence |= verdict.evidence
    return _Found(status_of(verdict, mode), verdict.reason, verdict.questions)
