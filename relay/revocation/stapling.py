"""Which answers about our own certificates clients want to see: whose, from whom, and whether they must.

Reads certificates and settings only; asks nobody. RFC 6066 8 (stapling), RFC 7633 (certificates that demand it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from relay.pki.certificate import PARSE_FAULTS, MalformedCertificate
from relay.revocation.ocsp_keeper import Own
from relay.revocation.ocsp_news import OcspUrls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.material import Material
    from relay.net.tls import KeyPair
    from relay.pki.certificate import Certificate
    from relay.toml_lines import KeyPath

__all__ = ["Presented", "demands_staple", "find_presented", "own_certificates", "unmet_demands"]


class Presented(NamedTuple):
    """A certificate that a listener presents; `issuer` None: nothing at hand has issued it."""

    key: KeyPath
    certificate: Certificate
    issuer: Certificate | None
    urls: tuple[str, ...]


def demands_staple(certificate: Certificate) -> bool:
    """Whether clients must not accept it without an answer beside it (RFC 7633 4.2.3.1)."""
    features = certificate.extension(x509.TLSFeature)
    return features is not None and x509.TLSFeatureType.status_request in features


def find_presented(material: Material) -> Iterator[Presented]:
    """Look at what all listeners present; raises nothing for what has been loaded."""
    authorities = material.authorities
    urls = OcspUrls((each.certificates, each.settings) for each in authorities)
    known = [certificate for each in authorities for certificate in each.certificates]
    for position, listener in enumerate(material.settings.listener):
        for number, pair in enumerate(material.listeners[listener.name].key_pairs):
            leaf, issuer = pair.chain[0], _issuer_of(pair, known)
            where = urls.about(leaf, issuer or leaf)
            yield Presented(("listener", position, "certificate", number), leaf, issuer, where)


def _issuer_of(pair: KeyPair, known: Iterable[Certificate]) -> Certificate | None:
    leaf = pair.chain[0]
    return next((each for each in (*pair.chain[1:], *known) if _has_issued(each, leaf)), None)


def _has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except (*PARSE_FAULTS, InvalidSignature, MalformedCertificate):
        return False
    return True


def own_certificates(material: Material) -> list[Own]:
    """Return those that answers are to be fetched for."""
    return [
        Own(each.certificate, each.issuer, demands_staple(each.certificate))
        for each in find_presented(material)
        if each.issuer is not None and each.urls
    ]


def unmet_demands(
    material: Material, shown_until: Mapping[str, float], now: float
) -> Iterator[Presented]:
    """Yield the certificates that demand an answer while there is none to show.

    Args:
        material: what is presented.
        shown_until: until when there is an answer, by the certificate's SHA-256.
        now: seconds since 1970.
    """
    for each in find_presented(material):
        if demands_staple(each.certificate) and shown_until.get(each.certificate.sha256, 0) <= now:
            yield each
