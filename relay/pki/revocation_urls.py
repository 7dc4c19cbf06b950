"""Where a certificate says that its revocation can be looked up.

Reads the certificate only; knows nothing of fetching, and does not decide which addresses may be
fetched from. RFC 5280 4.2.1.13 (CRLs), 4.2.1.15 (delta CRLs), 4.2.2.1 (OCSP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.pki.certificate import Certificate

__all__ = [
    "RevocationUrls",
    "crl_urls",
    "delta_urls",
    "ocsp_urls",
    "point_names",
    "problem_of",
    "urls_of_points",
]

MAX_URLS: Final = 8
"""Of one kind in one certificate; real ones have one or two."""


class RevocationUrls(NamedTuple):
    """What can be fetched, in the certificate's order; and what cannot, each with the reason."""

    usable: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def crl_urls(certificate: Certificate) -> RevocationUrls:
    """Where the CRL that covers a certificate is published. Raises MalformedCertificate."""
    return urls_of_points(certificate.extension(x509.CRLDistributionPoints) or ())


def delta_urls(certificate: Certificate) -> RevocationUrls:
    """Where delta CRLs to it are published. Raises MalformedCertificate."""
    return urls_of_points(certificate.extension(x509.FreshestCRL) or ())


def ocsp_urls(certificate: Certificate) -> RevocationUrls:
    """Where OCSP responders for a certificate listen. Raises MalformedCertificate."""
    access = certificate.extension(x509.AuthorityInformationAccess) or ()
    return _sorted_out(
        each.access_location
        for each in access
        if each.access_method == AuthorityInformationAccessOID.OCSP
    )


def urls_of_points(points: Iterable[x509.DistributionPoint]) -> RevocationUrls:
    """Where distribution points can be fetched from."""
    usable: list[str] = []
    refused: list[tuple[str, str]] = []
    for point in points:
        found = _sorted_out(point.full_name or ())
        problem = ""
        if point.crl_issuer:
            problem = "the CRL of another issuer (indirect) is not accepted"
        elif point.reasons:
            problem = "a CRL of some reasons only is not accepted"
        refused += found.refused
        if problem:
            refused += [(url, problem) for url in found.usable]
        else:
            usable += found.usable
        if point.relative_name:
            refused.append((point.relative_name.rfc4514_string(), "a name in a directory, no URL"))
    return RevocationUrls(tuple(dict.fromkeys(usable))[:MAX_URLS], tuple(refused)[:MAX_URLS])


def _sorted_out(names: Iterable[x509.GeneralName]) -> RevocationUrls:
    usable: list[str] = []
    refused: list[tuple[str, str]] = []
    for name in names:
        if not isinstance(name, x509.UniformResourceIdentifier):
            refused.append((point_names([name])[0], "a name, no URL"))
        elif problem := problem_of(name.value):
            refused.append((name.value, problem))
        else:
            usable.append(name.value)
    return RevocationUrls(tuple(usable)[:MAX_URLS], tuple(refused)[:MAX_URLS])


def problem_of(url: str) -> str:
    """Say why a URL is not fetched, "" if it may be."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "no URL"
    if parts.scheme in {"ldap", "ldaps"}:
        return "LDAP is not spoken here: have the CA publish over HTTP, or give the CRL as a file"
    if parts.scheme not in {"http", "https"}:
        return f"only http and https are fetched, not {parts.scheme or 'this'}"
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return "no URL"
    return "" if parts.username is None else "a URL with a user's name in it"


def point_names(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    """Spell the names of a distribution point so that they can be compared."""
    return tuple(_point_name(each) for each in names)


def _point_name(name: x509.GeneralName) -> str:
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"uri:{name.value}"
    if isinstance(name, x509.DirectoryName):
        return f"dir:{name.value.rfc4514_string()}"
    return f"other:{name!r}"
