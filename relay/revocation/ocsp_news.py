"""What the keeper and the workers tell each other of OCSP: questions by their key, and news of them.

Plain values that go through the supervisor as JSON; knows nothing of responders or sessions. RFC 6960.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.pki.crl import issuer_ids
from relay.pki.revocation import Outcome
from relay.pki.revocation_urls import ocsp_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay.pki.certificate import Certificate
    from relay.settings.revocation import RevocationAuthority

__all__ = ["News", "OcspUrls", "Staple", "key_of"]


class News(NamedTuple):
    """What has come of a question.

    `good`, `revoked` and `unknown` are a responder's word, which counts until `until` (seconds since
    1970). `unreachable` says that there was no usable answer, and that waiting for one before `until` is
    in vain.
    """

    key: str
    outcome: Outcome
    reason: str
    until: float

    @classmethod
    def of(cls, told: Sequence[Any]) -> News:
        """Take it from JSON."""
        key, outcome, reason, until = told
        return cls(key, Outcome(outcome), reason, until)


class Staple(NamedTuple):
    """An answer about a certificate of our own (by its SHA-256), to show to clients until `until`."""

    certificate: str
    response: bytes
    until: float


class OcspUrls:
    """Where to ask about a certificate: what the configuration says of its CA, then what it says itself.

    Args:
        configured: the CAs of `[[revocation.authority]]`: certificates and settings.
    """

    def __init__(
        self, configured: Iterable[tuple[Sequence[Certificate], RevocationAuthority]] = ()
    ) -> None:
        self._of_issuer: dict[tuple[str, str], tuple[str, ...]] = {}
        for certificates, settings in configured:
            for ids in map(issuer_ids, certificates):
                self._of_issuer[ids] = (*self._of_issuer.get(ids, ()), *settings.ocsp_urls)

    def about(self, certificate: Certificate, issuer: Certificate) -> tuple[str, ...]:
        """Return the addresses. Raises MalformedCertificate."""
        stated = certificate.derived(ocsp_urls).usable
        if not self._of_issuer:
            return stated
        configured = self._of_issuer.get(issuer.derived(issuer_ids), ())
        return tuple(dict.fromkeys((*configured, *stated)))


def key_of(certificate: Certificate, issuer: Certificate) -> str:
    """Name the question about a certificate: its CA, by name and key, and its number (RFC 6960 4.1.1)."""
    name, key = issuer.derived(issuer_ids)
    return hashlib.sha256(f"{name} {key} {certificate.serial}".encode()).hexdigest()
