"""What a signature says of itself: the tags of DKIM-Signature and ARC-Message-Signature as values.

It checks all that can be told without a key: form, dates, which fields are covered (RFC 6376 3.5,
6.1.1; RFC 8301, 8463, 8616). It does not know the message.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mailauth.tag_list import parse_tag_list
from relay.mailauth.verification import Refusal
from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "ALGORITHMS",
    "Signature",
    "parse_algorithm",
    "parse_base64",
    "parse_dkim_signature",
    "parse_domain",
    "parse_key_place",
    "parse_message_signature",
    "parse_timestamp",
    "required",
]

ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
"""What can be verified; never SHA-1 (RFC 8301 3.1)."""

_FUTURE_SECONDS: Final = 3600  # signers' clocks go wrong by a time zone
_EXPIRED_SECONDS: Final = 300  # ours hardly
_SHA256_BYTES: Final = 32
_MAX_DATE_DIGITS: Final = 12  # RFC 6376 3.5: a longer date counts as infinite

# RFC 5321 sub-domain, with the underscore that many selectors have, and U-labels (RFC 8616 4).
_LABEL: Final = re.compile(
    r"(?:[A-Za-z0-9_]|[^\x00-\x7f])(?:(?:[A-Za-z0-9_-]|[^\x00-\x7f])*(?:[A-Za-z0-9_]|[^\x00-\x7f]))?"
)
_CANONICALIZATIONS: Final = {
    b"simple": (False, False),
    b"relaxed": (True, False),  # RFC 6376 3.5 c=: the body's is simple then
    b"simple/simple": (False, False),
    b"simple/relaxed": (False, True),
    b"relaxed/simple": (True, False),
    b"relaxed/relaxed": (True, True),
}


class Signature(NamedTuple):
    """One signature as its field says it.

    `domain` and `selector` are canonical (lower case, U-labels). `fields` are the names of h= in lower
    case. `body_length` is l=, None without.
    """

    algorithm: str
    signature: bytes
    body_hash: bytes
    relaxed_header: bool
    relaxed_body: bool
    domain: str
    selector: str
    identity: str
    fields: tuple[bytes, ...]
    body_length: int | None = None

    @property
    def is_of_subdomain(self) -> bool:
        """Whether i= is of a subdomain of d=, which the key's t=s forbids."""
        return canonical_domain(self.identity.rpartition("@")[2]) != self.domain


def parse_dkim_signature(value: bytes, now: datetime) -> Signature:
    """Read the value of a DKIM-Signature field.

    Raises:
        Refusal: it can't be verified, whatever key and message are.
    """
    tags = parse_tag_list(value)
    if required(tags, b"v") != b"1":
        raise Refusal("unknown version")
    if b"dns/txt" not in _listed(tags.get(b"q", b"dns/txt")):
        raise Refusal("unknown way to the key (q=)")
    signature = _parse_tags(tags, default_canonicalization=b"simple/simple")
    if b"" in signature.fields:
        raise Refusal("h= is malformed")
    if b"from" not in signature.fields:
        raise Refusal("From is not signed")  # RFC 6376 5.4
    _check_dates(tags, now)
    return signature._replace(identity=_identity(tags, signature.domain))


def parse_message_signature(tags: Mapping[bytes, bytes], now: datetime) -> Signature:
    """Read the tags of an ARC-Message-Signature (RFC 8617 4.1.2). Raises Refusal.

    Nothing must be signed but the body, and there is no identity.
    """
    signature = _parse_tags(tags, default_canonicalization=b"relaxed/relaxed")
    if b"arc-seal" in signature.fields:
        raise Refusal("h= has ARC-Seal")  # RFC 8617 4.1.2
    _check_dates(tags, now)
    return signature


def _parse_tags(tags: Mapping[bytes, bytes], *, default_canonicalization: bytes) -> Signature:
    domain, selector = parse_key_place(tags)
    algorithm = parse_algorithm(tags)
    canonicalization = _CANONICALIZATIONS.get(tags.get(b"c", default_canonicalization))
    if canonicalization is None:
        raise Refusal("unknown canonicalization")
    body_hash = parse_base64(required(tags, b"bh"), "bh")
    if len(body_hash) != _SHA256_BYTES:
        raise Refusal("bh= is no SHA-256 hash")
    length = tags.get(b"l")
    if length is not None and not (length.isdigit() and len(length) <= 76):  # RFC 6376 3.5 l=
        raise Refusal("l= is no number")
    return Signature(
        algorithm,
        parse_base64(required(tags, b"b"), "b"),
        body_hash,
        *canonicalization,
        domain,
        selector,
        identity="",
        fields=tuple(_listed(_present(tags, b"h").lower())),
        body_length=None if length is None else int(length),
    )


def parse_key_place(tags: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Return d= and s=, canonical: where the key is. Raises Refusal."""
    domain, selector = parse_domain(required(tags, b"d")), parse_domain(required(tags, b"s"))
    if "." not in domain:
        raise Refusal("d= is no domain")
    return domain, selector


def parse_algorithm(tags: Mapping[bytes, bytes]) -> str:
    """Return a=, if we verify it. Raises Refusal."""
    algorithm = required(tags, b"a").decode("ascii", "replace")
    if algorithm == "rsa-sha1":
        raise Refusal("SHA-1 is not accepted")  # RFC 8301 3.1
    if algorithm not in ALGORITHMS:
        raise Refusal("unknown algorithm")
    return algorithm


def required(tags: Mapping[bytes, bytes], name: bytes) -> bytes:
    """Return a tag's value, which must not be empty. Raises Refusal."""
    if not (value := _present(tags, name)):
        raise Refusal(f"{name.decode()}= is empty")
    return value


def _present(tags: Mapping[bytes, bytes], name: bytes) -> bytes:
    if (value := tags.get(name)) is None:
        raise Refusal(f"{name.decode()}= is missing")
    return value


def parse_base64(value: bytes, tag: str) -> bytes:
    """Read base64 with blanks in it (RFC 6376 2.10). Raises Refusal."""
    try:
        return binascii.a2b_base64(b"".join(value.split()), strict_mode=True)
    except ValueError:
        raise Refusal(f"{tag}= is no base64") from None


def parse_domain(value: bytes) -> str:
    """Return a domain or selector in canonical spelling. Raises Refusal."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    labels = text.split(".")
    if len(value) > 253 or not text.isprintable() or not all(map(_LABEL.fullmatch, labels)):
        raise Refusal("d= or s= is no domain")
    return canonical_domain(text)


def parse_timestamp(tags: Mapping[bytes, bytes], name: bytes) -> int | None:
    """Return a date in seconds since 1970, None without the tag or for one beyond all time. Raises Refusal."""
    if (value := tags.get(name)) is None:
        return None
    if not value.isdigit():
        raise Refusal(f"{name.decode()}= is no date")
    return int(value) if len(value) <= _MAX_DATE_DIGITS else None


def _check_dates(tags: Mapping[bytes, bytes], now: datetime) -> None:
    """RFC 6376 3.5 t= and x=."""
    signed, expires, present = (
        parse_timestamp(tags, b"t"),
        parse_timestamp(tags, b"x"),
        now.timestamp(),
    )
    if signed is not None and signed > present + _FUTURE_SECONDS:
        raise Refusal("signed in the future")
    if expires is not None:
        if signed is not None and expires <= signed:
            raise Refusal("expires before it was signed")
        if expires < present - _EXPIRED_SECONDS:
            raise Refusal("expired")


def _identity(tags: Mapping[bytes, bytes], domain: str) -> str:
    """Return i=, which must be of d= or below it (RFC 6376 3.5 i=)."""
    if b"i" not in tags:
        return f"@{domain}"
    identity = tags[b"i"].decode("utf-8", "replace")
    _, at, of = identity.rpartition("@")
    of = canonical_domain(of)
    if not at or not (of == domain or of.endswith(f".{domain}")):
        raise Refusal("i= is not of d=")
    return identity


def _listed(value: bytes) -> list[bytes]:
    return [entry.strip() for entry in value.split(b":")]
