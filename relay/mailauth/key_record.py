"""Public keys in the DNS (RFC 6376 3.6, 8301, 8463): found, read, and used.

It asks through `ports.Resolver` and knows nothing of messages. Records are read once as long as
they are remembered: the same few keys sign most mail.
"""

from __future__ import annotations

import asyncio
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from relay.errors import Unavailable
from relay.mail.idn import to_ascii
from relay.mailauth.signature import parse_base64
from relay.mailauth.tag_list import parse_tag_list
from relay.mailauth.verification import DkimResult, Refusal
from relay.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Collection

    from relay.ports import Resolver

__all__ = [
    "MIN_RSA_BITS",
    "STRONG_RSA_BITS",
    "PublicKey",
    "format_key_record",
    "key_name",
    "look_up_keys",
    "parse_key_record",
]

MIN_RSA_BITS: Final = 1024
"""Shorter keys never pass (RFC 8301 3.2)."""

STRONG_RSA_BITS: Final = 2048
"""What signers should use; shorter ones pass and are called weak (RFC 8301 3.2)."""

_MAX_RSA_BITS: Final = 8192
_MAX_EXPONENT_BITS: Final = 64  # a huge one would make verifying as slow as signing is
_MAX_RECORDS: Final = 8
_PADDING: Final = PKCS1v15()
_HASH: Final = Prehashed(SHA256())


class PublicKey(NamedTuple):
    """A key and what its record says: `is_testing` is t=y, `is_strict` t=s."""

    key: RSAPublicKey | Ed25519PublicKey
    is_testing: bool = False
    is_strict: bool = False

    @property
    def algorithm(self) -> str:
        """The a= that it is for."""
        return "rsa-sha256" if isinstance(self.key, RSAPublicKey) else "ed25519-sha256"

    @property
    def bits(self) -> int:
        """The size of the key."""
        return self.key.key_size if isinstance(self.key, RSAPublicKey) else 256

    def check_use(self, algorithm: str, min_rsa_bits: int) -> None:
        """Check that signatures of that algorithm may be verified with it. Raises Refusal."""
        if algorithm != self.algorithm:
            raise Refusal("the key is of another type than the signature")
        if isinstance(self.key, RSAPublicKey) and self.bits < min_rsa_bits:
            raise Refusal(f"the key has only {self.bits} bits")

    def has_signed(self, digest: bytes, signature: bytes) -> bool:
        """Whether this key made the signature over that SHA-256 hash."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, digest, _PADDING, _HASH)
            else:
                self.key.verify(signature, digest)  # RFC 8463 3: PureEdDSA over the hash
        except InvalidSignature:
            return False
        return True


async def look_up_keys(
    names: Collection[str], resolver: Resolver
) -> dict[str, PublicKey | Refusal]:
    """Find the keys at these names, side by side; never raises."""
    if len(names) == 1:
        (name,) = names
        return {name: await _look_up(name, resolver)}
    found = await asyncio.gather(*(_look_up(name, resolver) for name in names))
    return dict(zip(names, found, strict=True))


def key_name(domain: str, selector: str) -> str:
    """Return where the key is (RFC 6376 3.6.2.1), in A-labels (RFC 8616 4). Raises Refusal."""
    try:
        return to_ascii(f"{selector}._domainkey.{domain}")
    except ValueError:
        raise Refusal("d= or s= is no domain") from None


async def _look_up(name: str, resolver: Resolver) -> PublicKey | Refusal:
    if len(name) > 253 or any(len(label) > 63 for label in name.split(".")):
        return Refusal("no domain can have that name")
    try:
        answer = await resolver.resolve(name, "TXT")
    except Unavailable:
        return Refusal("the DNS did not give the key", DkimResult.TEMPERROR)
    try:
        return _only_key(answer.records)
    except Refusal as refusal:
        return refusal


def _only_key(records: tuple[str, ...]) -> PublicKey:
    """Return the one key among the records of a name; with two, nobody knows which (RFC 6376 3.6.2.2)."""
    keys: list[PublicKey] = []
    refusal = Refusal("there is no key")
    for record in records[:_MAX_RECORDS]:
        try:
            keys.append(parse_key_record(record))
        except Refusal as found:
            refusal = found
    if len(keys) > 1:
        raise Refusal("more than one key")
    if not keys:
        raise refusal
    return keys[0]


def format_key_record(key: RSAPublicKey | Ed25519PublicKey) -> str:
    """Return the record to publish for a key (RFC 6376 3.6.1, RFC 8463 4)."""
    if isinstance(key, Ed25519PublicKey):
        kind, data = "ed25519", key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        kind = "rsa"
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k={kind}; p={b2a_base64(data, newline=False).decode()}"


@remembered(1024, longest=2048)  # a record may have 16 kB, and the largest key we take needs 1.5
def parse_key_record(text: str) -> PublicKey:
    """Read the record of a key that is for mail, and that we can use.

    Raises:
        Refusal: it is none, was revoked, or is not for SHA-256 or not for mail.
    """
    tags = parse_tag_list(text.encode("utf-8", "surrogateescape"))
    if tags.get(b"v", b"DKIM1") != b"DKIM1" or (b"v" in tags and next(iter(tags)) != b"v"):
        raise Refusal("the key's record is of another version")  # RFC 6376 3.6.1 v=
    if not (value := tags.get(b"p")):
        raise Refusal("the key was revoked" if value == b"" else "the key's record has no key")
    if b"h" in tags and b"sha256" not in _listed(tags[b"h"]):
        raise Refusal("the key is not for SHA-256")
    if not {b"*", b"email"} & _listed(tags.get(b"s", b"*")):
        raise Refusal("the key is not for mail")
    flags = _listed(tags.get(b"t", b""))
    key = _load(tags.get(b"k", b"rsa"), parse_base64(value, "p"))
    return PublicKey(key, is_testing=b"y" in flags, is_strict=b"s" in flags)


def _load(kind: bytes, data: bytes) -> RSAPublicKey | Ed25519PublicKey:
    if kind == b"ed25519":
        return _load_ed25519(data)
    if kind != b"rsa":
        raise Refusal("a key of unknown type")
    try:
        # A SubjectPublicKeyInfo, or a bare RSAPublicKey: RFC 6376 3.6.1 p= means the one and says the other.
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Refusal("the key can't be read") from None
    if not isinstance(key, RSAPublicKey):
        raise Refusal("the key is of another type than its record says")
    if key.key_size > _MAX_RSA_BITS or key.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
        raise Refusal("the key is too large")
    return key


def _load_ed25519(data: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(data)  # RFC 8463 4: the bare 32 bytes
    except ValueError:
        raise Refusal("the key can't be read") from None


def _listed(value: bytes) -> set[bytes]:
    return {entry.strip() for entry in value.split(b":")}
