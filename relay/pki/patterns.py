"""Address patterns of the allowlist: "user@domain", "@domain", "@.domain" and "*".

Pure comparison; knows nothing of identities. Domains are compared without regard to case, and a
U-label equals its A-label (RFC 5890 2.3.2.1); local parts are compared without regard to case
too: nobody gives two mailboxes that differ in nothing else to two parties.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from relay.model import Address

__all__ = ["canonical_domain", "matches", "parse_pattern"]

_LABEL = r"(?:[a-z0-9_\u0080-\U0010ffff](?:[a-z0-9_\u0080-\U0010ffff-]{0,61}[a-z0-9_\u0080-\U0010ffff])?)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[[A-Za-z0-9:._-]+\]")
_LOCAL = re.compile(r"[^\s@\"<>\x00-\x1f\x7f]{1,64}|\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~]){1,62}\"")


def matches(patterns: Collection[str], address: Address) -> bool:
    """Whether an address fits one of the patterns, which `parse_pattern` has made canonical."""
    if "*" in patterns:
        return True
    domain = canonical_domain(address.domain)
    at_domain = f"@{domain}"
    if at_domain in patterns or _canonical_local(address.local) + at_domain in patterns:
        return True
    return any(each.startswith("@.") and domain.endswith(each[1:]) for each in patterns)


def canonical_domain(domain: str) -> str:
    """Spell a domain in the one way that is compared: lower case, U-labels, no final dot.

    Never raises: what is no A-label stays as it is, and so equals only itself.
    """
    domain = domain.lower().removesuffix(".")
    if domain.isascii() and "xn--" not in domain:
        return domain
    return ".".join(_canonical_label(label) for label in domain.split("."))


def _canonical_label(label: str) -> str:
    # IDNA 2003 (Python's "idna" codec) would fold "straße" into "strasse", which is another
    # domain today (RFC 5894 7.2); decoding the A-label and comparing text folds nothing.
    plain = _decoded(label[4:]) if label.startswith("xn--") else label
    return unicodedata.normalize("NFC", plain) or label


def _decoded(punycode: str) -> str:
    """The U-label of an A-label, "" if it is none (RFC 5891 5.4: they stand for each other)."""
    try:
        plain = punycode.encode("ascii").decode("punycode")
        is_exact = plain.encode("punycode").decode("ascii") == punycode
    except (ValueError, OverflowError):
        return ""
    # What can't be printed is no U-label either: half a surrogate pair, which no file and no store takes,
    # or marks that turn the reading direction round in a log.
    is_plain = plain.isprintable() and not plain.isascii() and plain == plain.lower()
    return plain if is_exact and is_plain else ""


def _canonical_local(local: str) -> str:
    if len(local) >= 2 and local[0] == local[-1] == '"':
        # RFC 5321 4.1.2: quoting says nothing; "a\b"@x and ab@x are one mailbox
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    local = local.lower()
    return local if local.isascii() else unicodedata.normalize("NFC", local)


def parse_pattern(text: str) -> str:
    """Check a pattern of the allowlist and return its canonical spelling.

    Raises:
        ConfigurationError: it is none; without a place, which only the caller knows.
    """
    if text == "*":
        return text
    local, at, domain = text.rpartition("@")
    if not at:
        raise _no_pattern(text, f'for a whole domain write "@{_plain(text)}"')
    if domain.startswith("*."):
        raise _no_pattern(text, f'for all subdomains write "@{_plain(domain[1:])}"')
    if local == "*":
        raise _no_pattern(text, f'for a whole domain write "@{_plain(domain)}"')
    canonical = canonical_domain(domain)
    name = canonical if local else canonical.removeprefix(".")
    is_domain = len(name) <= 253 and _DOMAIN.fullmatch(name)
    if (local and not _LOCAL.fullmatch(local)) or not (is_domain or _LITERAL.fullmatch(name)):
        raise _no_pattern(text, 'write "user@example.org", "@example.org", "@.example.org" or "*"')
    return f"{_canonical_local(local)}@{canonical}"


def _no_pattern(text: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{_plain(text)!r} is no address pattern", remedy=remedy)


def _plain(text: str) -> str:
    return "".join(each for each in text[:100] if each.isprintable())
