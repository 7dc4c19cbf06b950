"""Messages with signatures: keys, their records, and signed fields with any tags one likes.

No I/O. `signed` writes the field with the product's own pen (`mailauth.signing.signed_field`), so that a
test can say which tag is wrong and have all else right; that the pen is right is proved by RFC
examples and foreign programs.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from relay.mail.headers import split
from relay.mailauth import dkim
from relay.mailauth.canonicalization import FieldStack, body_hash, body_start
from relay.mailauth.signing import SigningKey, encoded, signed_field
from tests.kit.checks import Offloading
from tests.kit.zones import FakeResolver

if TYPE_CHECKING:
    from relay.mailauth.dkim import Acceptance
    from relay.mailauth.verification import Verification
    from tests.kit.zones import Zones

__all__ = [
    "MESSAGE",
    "NOW",
    "ed25519_key",
    "pem",
    "record",
    "rsa_key",
    "short_rsa_key",
    "signed",
    "verified",
    "zone",
]

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

MESSAGE = (
    b"Received: from client.example.org ([192.0.2.1]) by mx.example.org;\r\n"
    b"\tSat, 21 Nov 2026 11:59:00 +0000\r\n"
    b"From: Alice <alice@example.org>\r\n"
    b"To: Bob <bob@example.net>,\r\n Carol <carol@example.net>\r\n"
    b"Subject:  Is   dinner ready? \r\n"
    b"Date: Sat, 21 Nov 2026 11:59:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Hi.\r\n\r\nWe lost  the\tgame. \r\nAre you hungry yet?\r\n\r\nAlice.\r\n\r\n\r\n"
)

NAMES = b"from:to:subject:date:message-id"


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """The one RSA key of this size."""
    return rsa.generate_private_key(65537, bits)


@cache
def short_rsa_key() -> rsa.RSAPrivateKey:
    """A key of 768 bits, which no library makes any more."""
    p = 38810281507774265633702207521744476444049924883255129353346407703740356835706659188666313873837968336365566047077941
    q = 33321883854686621100374017915690421490513267047182326882994949147055892446889628194552239560527998265414265018790151
    public = rsa.RSAPublicNumbers(65537, p * q)
    d = pow(public.e, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public
    ).private_key()


@cache
def ed25519_key() -> Ed25519PrivateKey:
    """The one Ed25519 key."""
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """The key as other programs read it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def record(key: rsa.RSAPrivateKey | Ed25519PrivateKey, tags: str = "") -> str:
    """The record of a key, with further tags (`"t=s; h=sha256; "`) before the last."""
    if isinstance(key, Ed25519PrivateKey):
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        kind = "ed25519"
    else:
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        kind = "rsa"
    return f"v=DKIM1; k={kind}; {tags}p={base64.b64encode(public).decode()}"


def zone(text: str, name: str = "s1._domainkey.example.org") -> dict[str, dict[str, str]]:
    """A zone with one key."""
    return {name: {"TXT": text}}


def signed(
    message: bytes = MESSAGE,
    key: rsa.RSAPrivateKey | Ed25519PrivateKey | None = None,
    *,
    without: str = "",
    covers: bytes | None = None,
    **changed: str,
) -> bytes:
    """The message with a signature on top; `changed` tags win over the usual ones.

    `covers` are the fields that are really signed, if h= is to say something else.
    """
    signer = SigningKey("example.org", "s1", key or rsa_key())
    tags = {
        "v": "1",
        "a": signer.algorithm,
        "c": "relaxed/relaxed",
        "d": signer.domain,
        "s": signer.selector,
        "h": NAMES.decode(),
        "bh": "",
        "b": "",
    } | changed
    header = split(message)
    relaxed_header, relaxed_body = (
        word == "relaxed" for word in f"{tags['c']}/simple".split("/")[:2]
    )
    if not tags["bh"]:
        length = int(tags["l"]) if tags.get("l", "").isdigit() else None
        hashes = body_hash(
            message,
            body_start(header),
            relaxed=relaxed_body,
            lengths=() if length is None else (length,),
        )
        tags["bh"] = encoded(hashes.digests.get(length) or hashes.digests[None])
    tags.pop(without, None)
    names = covers if covers is not None else tags.get("h", "").lower().encode()
    field = signed_field(
        "DKIM-Signature",
        tags,
        signer,
        FieldStack.of(header),
        [name.strip() for name in names.split(b":")],
        relaxed=relaxed_header,
    )
    return field + message


def verified(
    message: bytes,
    resolver: FakeResolver | Zones | str | None = None,
    acceptance: Acceptance | None = None,
    *,
    now: datetime = NOW,
) -> tuple[Verification, ...]:
    """Verify a message; a text for a resolver is the record of the usual key."""
    if resolver is None:
        resolver = record(rsa_key())
    if isinstance(resolver, str):
        resolver = zone(resolver)
    if not isinstance(resolver, FakeResolver):
        resolver = FakeResolver(resolver)
    return asyncio.run(
        dkim.verify(split(message), resolver, Offloading(), now, acceptance or dkim.Acceptance())
    )
