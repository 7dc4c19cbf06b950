"""Names that a certificate vouches for, spelled in the one way that is compared.

"dns:mail.acme.example", "uri:spiffe://acme/billing", "email:billing@acme.example", "ip:192.0.2.1".
Knows nothing of who has them. A name stands for itself only: no wildcards, no subdomains.
RFC 5280 4.2.1.6 and 7, RFC 3986 6.2.2.1 (case of URIs).
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from relay.errors import ConfigurationError

__all__ = ["canonical_dns", "canonical_email", "canonical_uri", "parse_name"]

_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_EMAIL = re.compile(r"[!-?A-~]{1,64}@[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")
_URI_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<authority>//[^/?#]*)?(?P<rest>.*)", re.DOTALL
)
_FORMS = 'write it as "dns:mail.example.org", "uri:spiffe://...", "email:..." or "ip:192.0.2.1"'


def canonical_dns(name: str) -> str:
    """Spell a DNS name in lower case, with A-labels, without the final dot."""
    name = name.lower().removesuffix(".")
    if name.isascii():
        return name
    labels = (label if label.isascii() else f"xn--{_punycode(label)}" for label in name.split("."))
    return ".".join(labels)


def _punycode(label: str) -> str:
    return label.encode("punycode").decode("ascii")


def canonical_uri(uri: str) -> str:
    """Spell scheme and host in lower case; the rest of a URI is compared as it is."""
    # Not urlsplit: it drops line ends, so that two different names would become one.
    found = _URI_PARTS.fullmatch(uri)
    if found is None:
        return uri
    user, at, host = (found["authority"] or "").rpartition("@")
    return f"{found['scheme'].lower()}:{user}{at}{host.lower()}{found['rest']}"


def canonical_email(address: str) -> str:
    """Spell the domain of an address in lower case; the local part is compared as it is."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{canonical_dns(domain)}"


def parse_name(text: str) -> str:
    """Read a certificate name of the allowlist and return its canonical spelling.

    Raises:
        ConfigurationError: it is none; without a place, which only the caller knows.
    """
    kind, _, value = text.partition(":")
    found = ""
    if kind == "dns" and "*" in value:
        remedy = "a name stands for itself; list the names, or pin the certificate"
        raise ConfigurationError(f"{text!r} is a wildcard", remedy=remedy)
    if kind == "dns":
        found = _fitting(_DOMAIN, canonical_dns(value))
    elif kind == "uri":
        found = _fitting(_URI, canonical_uri(value))
    elif kind == "email":
        found = _fitting(_EMAIL, canonical_email(value))
    elif kind == "ip":
        found = _ip(value)
    if not found:
        raise ConfigurationError(f"{text!r} is no certificate name", remedy=_FORMS)
    return f"{kind}:{found}"


def _fitting(pattern: re.Pattern[str], value: str) -> str:
    return value if pattern.fullmatch(value) else ""


def _ip(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        return ""
