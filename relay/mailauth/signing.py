"""Signatures of our own: DKIM-Signature fields with RSA and Ed25519 (RFC 6376 5, 8301, 8463).

It writes fields and does not know whose mail is signed, nor where keys come from.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from relay.mail.headers import split
from relay.mailauth.canonicalization import FieldStack, body_hash, body_start, header_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "OVERSIGNED",
    "SIGNED",
    "SigningKey",
    "SigningStyle",
    "encoded",
    "sign",
    "sign_hashed",
    "signed_by",
    "signed_field",
    "signed_names",
]

# RFC 6376 5.4.1: what a reader sees and answers to, and what says how the body is to be read.
OVERSIGNED: Final = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""Fields that are signed once more than they stand there: nobody can add one (RFC 6376 8.15)."""

SIGNED: Final = (
    *OVERSIGNED,
    b"content-id",
    b"content-description",
    b"resent-date",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-message-id",
    b"list-id",
    b"list-help",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
)
"""Fields that are signed as often as they are there."""

_LINE_CHARACTERS: Final = 76
_FOLD: Final = "\r\n\t"
_PADDING: Final = PKCS1v15()
_HASH: Final = Prehashed(SHA256())


class SigningKey(NamedTuple):
    """A private key, and where the world finds its public half; `domain` and `selector` in A-labels."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """The a= of its signatures."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 hash."""
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, _PADDING, _HASH)
        return self.key.sign(digest)  # RFC 8463 3: PureEdDSA over the hash


class SigningStyle(NamedTuple):
    """How a message is signed: which fields, in which form, and for how long (None: without end).

    `identity` is i= (an address of the key's domain or below it), "" for none.
    """

    signed: Sequence[bytes] = SIGNED
    oversigned: Sequence[bytes] = OVERSIGNED
    relaxed_header: bool = True
    relaxed_body: bool = True
    lifetime: timedelta | None = None
    identity: str = ""


def signed_by(
    keys: Iterable[SigningKey], message: bytes, now: datetime, lifetime: timedelta | None
) -> bytes:
    """Return a message of our own with a signature of each key in front; as it is without keys."""
    header = split(message)
    style = SigningStyle(lifetime=lifetime)
    begin = body_start(header)
    return sign(FieldStack.of(header), message, begin, keys, now, style=style) + message


def sign(
    stack: FieldStack,
    message: bytes,
    begin: int,
    keys: Iterable[SigningKey],
    now: datetime,
    *,
    style: SigningStyle = SigningStyle(),  # noqa: B008  immutable
) -> bytes:
    """Return DKIM-Signature fields, one for each key, to be put in front of the message.

    `stack` is the header as it leaves us, `begin` where the body of the message begins. A large body is better
    hashed off the event loop.
    """
    body = body_hash(message, begin, relaxed=style.relaxed_body).digests[None]
    return sign_hashed(stack, body, keys, now, style=style)


def sign_hashed(
    stack: FieldStack,
    body: bytes,
    keys: Iterable[SigningKey],
    now: datetime,
    *,
    style: SigningStyle,
) -> bytes:
    """The same, with the hash of the body in the form of `style.relaxed_body`."""
    names = signed_names(stack, style.signed, style.oversigned)
    words = ("simple", "relaxed")
    canonicalization = f"{words[style.relaxed_header]}/{words[style.relaxed_body]}"
    at = int(now.timestamp())
    fields = []
    for key in keys:
        tags = {
            "v": "1",
            "a": key.algorithm,
            "c": canonicalization,
            "d": key.domain,
            "s": key.selector,
            "t": str(at),
        }
        if style.lifetime is not None:
            tags["x"] = str(at + int(style.lifetime.total_seconds()))
        if style.identity:
            tags["i"] = style.identity
        tags |= {"h": ":".join(map(bytes.decode, names)), "bh": encoded(body), "b": ""}
        fields.append(
            signed_field("DKIM-Signature", tags, key, stack, names, relaxed=style.relaxed_header)
        )
    return b"".join(fields)


def signed_names(
    stack: FieldStack, signed: Iterable[bytes], oversigned: Iterable[bytes] = ()
) -> tuple[bytes, ...]:
    """Return h=: each field as often as it is there, and once more where none may be added."""
    once_more = frozenset(oversigned)
    return tuple(name for name in signed for _ in range(stack.count(name) + (name in once_more)))


def signed_field(
    name: str,
    tags: dict[str, str],
    key: SigningKey,
    stack: FieldStack,
    names: Sequence[bytes],
    *,
    relaxed: bool,
    is_folded: bool = True,
) -> bytes:
    """Return a field of these tags in their order, b= among them (empty), with b= filled in.

    b= is folded or in one piece: a signature that covers the field sees the difference.
    """
    before, after = _laid_out(name, tags)
    digest = header_hash(stack, names, before + after, relaxed=relaxed)
    signature = encoded(key.sign(digest))
    return before + (_folded(signature) if is_folded else signature).encode() + after


def encoded(data: bytes) -> str:
    """Return base64 in one piece."""
    return b2a_base64(data, newline=False).decode()


def _laid_out(name: str, tags: dict[str, str]) -> tuple[bytes, bytes]:
    """Return the folded field up to the value of b=, which begins a line, and from there."""
    text = f"{name}:"
    column = len(text)
    before = ""
    for tag, value in tags.items():
        entry = f"{tag}={_folded_names(value) if tag == 'h' else value};"
        if tag == "b" or column + len(entry) >= _LINE_CHARACTERS:
            text += _FOLD
            column = 8
        else:
            text += " "
            column += 1
        if tag == "b":
            before, text, column = f"{text}b=", ";", _LINE_CHARACTERS
        else:
            text += entry
            column += len(entry.rpartition("\n")[2])
    return before.encode(), f"{text.removesuffix(';')}\r\n".encode()


def _folded_names(names: str) -> str:
    """Fold h= at its colons, where it is longer than a line."""
    lines = [""]
    for name in names.split(":"):
        if len(lines[-1]) + len(name) > _LINE_CHARACTERS - 16:
            lines.append("")
        lines[-1] += f"{name}:"
    return _FOLD.join(lines)[:-1]


def _folded(text: str) -> str:
    step = _LINE_CHARACTERS - 8
    return _FOLD.join(text[at : at + step] for at in range(0, len(text), step))
