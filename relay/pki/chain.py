"""Does a chain lead to a trusted CA? Path building over the certificates a peer has sent.

Knows nothing of identities. `cryptography.x509.verification` does the building and the proving
(memory-safe, bounded); the extension policy here is looser than the web's in what private CAs made
with plain OpenSSL leave out, and not in what proves anything: signatures, dates, basicConstraints,
path length, name constraints, unknown critical extensions. RFC 5280 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from relay.model import TrustStatus
from relay.pki.certificate import Certificate, MalformedCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from cryptography.x509.verification import Policy

__all__ = [
    "TLS_PURPOSES",
    "Anchors",
    "ChainVerdict",
    "has_weak_signature",
    "is_weak_key",
    "verify_chain",
]

MAX_DEPTH: Final = 5
"""CA certificates between a leaf and its anchor; real chains have one or two."""

MAX_INTERMEDIATES: Final = 10
"""Certificates looked at beyond the leaf: a peer may send many, to keep us busy."""

TLS_PURPOSES: Final = frozenset(
    {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
"""Extended key usages that speak of TLS."""


class ChainVerdict(NamedTuple):
    """The path found, leaf first and anchor last; or none, with a status and a reason."""

    path: tuple[Certificate, ...]
    status: TrustStatus | None = None
    reason: str = ""


def _check_key_usage(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    # RFC 5280 4.2.1.3; a CA without the extension is let pass, as OpenSSL does
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("key usage without keyCertSign")


def _check_purposes(
    _policy: Policy, _certificate: x509.Certificate, purposes: x509.ExtendedKeyUsage | None
) -> None:
    if purposes is not None and not TLS_PURPOSES.intersection(purposes):
        raise ValueError("extended key usage without TLS")


_CA_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_key_usage)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_purposes)
)
_LEAF_POLICY: Final = ExtensionPolicy.permit_all()


class Anchors:
    """The CAs trusted for one purpose. Intermediates may stand here too, and then end a path."""

    def __init__(self, certificates: Iterable[Certificate] = ()) -> None:
        self.certificates = tuple(certificates)
        self._builder: PolicyBuilder | None = None
        if self.certificates:
            self._builder = (
                PolicyBuilder()
                .store(Store([each.x509 for each in self.certificates]))
                .max_chain_depth(MAX_DEPTH)
                .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
            )

    def build_path(
        self, leaf: Certificate, others: Sequence[Certificate], now: datetime
    ) -> tuple[Certificate, ...]:
        """Find a path from a leaf to an anchor.

        Raises:
            VerificationError: there is none.
            MalformedCertificate: a certificate cannot be read.
        """
        if self._builder is None:
            raise VerificationError("no CA is trusted here")
        verifier = self._builder.time(now).build_client_verifier()
        found = verifier.verify(leaf.x509, [each.x509 for each in others[:MAX_INTERMEDIATES]])
        return (leaf, *(Certificate(each) for each in found.chain[1:]))


def verify_chain(
    certificates: Sequence[Certificate], anchors: Anchors, now: datetime
) -> ChainVerdict:
    """Verify what a peer has sent, leaf first; the others may come in any order."""
    leaf, others = certificates[0], certificates[1 : MAX_INTERMEDIATES + 1]
    try:
        try:
            return ChainVerdict(anchors.build_path(leaf, others, now))
        except VerificationError as error:
            return _explain(_walk(leaf, others, anchors), anchors, now, str(error))
    except MalformedCertificate:
        reason = "a certificate in the chain cannot be read"
        return ChainVerdict((), TrustStatus.MALFORMED, reason)


# --- why there is no path -------------------------------------------------------------------
# Only words hang on this: that the chain is refused is decided already.


def _walk(leaf: Certificate, others: Sequence[Certificate], anchors: Anchors) -> list[Certificate]:
    """Follow the issuers' names from the leaf, as a person would."""
    by_subject = {each.subject: each for each in others}
    by_subject |= {each.subject: each for each in anchors.certificates}
    links = [leaf]
    while len(links) <= MAX_DEPTH and links[-1].subject != links[-1].issuer:
        issuer = by_subject.get(links[-1].issuer)
        if issuer is None:
            break
        links.append(issuer)
    return links


def _explain(
    links: Sequence[Certificate], anchors: Anchors, now: datetime, problem: str
) -> ChainVerdict:
    if not anchors.certificates:
        return _untrusted("no CA is trusted here: only pins count")
    for link in links:
        if (verdict := _fault_of(link, now, is_leaf=link is links[0])) is not None:
            return verdict
    last = links[-1]
    if last in anchors.certificates:
        return _untrusted(_in_plain_words(problem))
    if last is links[0] and last.subject == last.issuer:
        return _untrusted("it is self-signed")
    return _untrusted(f"no trusted CA is called {last.issuer}")


def _fault_of(link: Certificate, now: datetime, *, is_leaf: bool) -> ChainVerdict | None:
    who = "the certificate" if is_leaf else f"the CA certificate {link.subject}"
    if now > link.not_after:
        return ChainVerdict((), TrustStatus.EXPIRED, f"{who} expired on {link.not_after:%Y-%m-%d}")
    if now < link.not_before:
        reason = f"{who} is not valid before {link.not_before:%Y-%m-%d %H:%M} UTC"
        return ChainVerdict((), TrustStatus.NOT_YET_VALID, reason)
    if has_weak_signature(link):
        return ChainVerdict((), TrustStatus.WEAK_KEY, f"{who} is signed with a broken digest")
    if is_weak_key(link.public_key):
        return ChainVerdict((), TrustStatus.WEAK_KEY, f"{who} has a weak key")
    return None


def _untrusted(reason: str) -> ChainVerdict:
    return ChainVerdict((), TrustStatus.UNTRUSTED, reason)


_WORDS: Final = (
    ("Forbidden public key algorithm", "a CA has a kind of key that is not accepted for CAs"),
    ("path length", "a CA has more CAs below it than it may have"),
    ("max depth", "the chain is too long"),
    ("name constraint", "a CA may not vouch for this name"),
    ("basicConstraints", "a certificate is used as a CA and is none"),
    ("X509v3", "a certificate is not of version 3"),
    ("critical extension", "a critical extension is not known"),
    ("key usage", "a CA may not be used for this, says its key usage"),
    ("signature", "a signature is wrong"),
)


def _in_plain_words(problem: str) -> str:
    known = next((words for fragment, words in _WORDS if fragment in problem), "")
    return known or "no path leads to a trusted CA"


def has_weak_signature(certificate: Certificate) -> bool:
    """Whether a CA has signed it with MD5 or SHA-1 (RFC 9155); a root's own signature is moot."""
    if certificate.subject == certificate.issuer:
        return False
    return isinstance(certificate.signature_hash, hashes.MD5 | hashes.SHA1)


def is_weak_key(key: CertificatePublicKeyTypes) -> bool:
    """Whether a key is below 112 bits of strength: RSA under 2048, EC under 256, any DSA."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size < 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size < 256
    return isinstance(key, dsa.DSAPublicKey)
