"""CA certificates that trusted chains have shown, for sessions resumed with the leaf alone.

A TLS session ticket holds the client's own certificate and nothing above it (OpenSSL 4.0), but every
resumption is decided anew (design section 5), so the rest of the chain has to be remembered. What
is kept here is only offered to chain building: it proves nothing until it leads to an anchor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.pki.certificate import PARSE_FAULTS, MalformedCertificate

if TYPE_CHECKING:
    from relay.pki.certificate import Certificate

__all__ = ["Intermediates"]

_MAX_DEPTH = 8


class Intermediates:
    """A bounded set of certificates, found by subject."""

    def __init__(self, max_certificates: int = 1000) -> None:
        self._max_certificates = max_certificates
        self._known: set[str] = set()
        self._by_subject: dict[bytes, list[Certificate]] = {}

    def add(self, certificate: Certificate) -> bool:
        """Remember one; False if it was known, cannot be read, or there is no room."""
        if certificate.sha256 in self._known or len(self._known) >= self._max_certificates:
            return False
        try:
            subject = certificate.x509.subject.public_bytes()
            certificate.x509.issuer.public_bytes()
        except (MalformedCertificate, *PARSE_FAULTS):
            return False
        self._known.add(certificate.sha256)
        self._by_subject.setdefault(subject, []).append(certificate)
        return True

    def above(self, leaf: Certificate) -> tuple[Certificate, ...]:
        """Return what may stand between a leaf and an anchor, nearest first."""
        if not self._known:
            return ()
        found: list[Certificate] = []
        names = [leaf.x509.issuer.public_bytes()]
        for name in names:
            for certificate in self._by_subject.get(name, ()):
                if certificate not in found:
                    found.append(certificate)
                    names.append(certificate.x509.issuer.public_bytes())
            if len(names) > _MAX_DEPTH:
                break
        return tuple(found)
