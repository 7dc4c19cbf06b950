"""Header fields that tell of the inside, taken out or made anonymous where mail leaves: never a signed one.

What a signature covers stays as it is, whatever the operator's list says: who signs a field means it to be
read, and a message that does not verify any more is worse. What of it applies where, the settings say.
RFC 5321 4.4 (Received), RFC 6376 5.4, RFC 6761 6.4 (names below "invalid" are nobody's).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from relay.mail.headers import Field, HeaderBlock
    from relay.settings import Settings

__all__ = ["DEFAULTS", "Hygiene", "ReceivedTreatment", "hygiene_by_way", "is_indispensable"]

ReceivedTreatment = Literal["keep", "pseudonymise", "remove"]

DEFAULTS: Final = (
    "bcc", "resent-bcc",  # RFC 5322 3.6.3: of no concern to anybody but the sender's own program
    "x-originating-ip", "x-original-ip", "x-client-ip", "x-sender-ip", "x-source-ip", "x-remote-ip",
    "x-real-ip", "x-forwarded-for", "x-originating-client", "x-client-addr", "x-client-hostname",
    "x-authenticated-user", "x-authenticated-sender", "x-authenticated-id", "x-auth-user", "x-auth-id",
    "x-sender-id", "x-get-message-sender-via", "x-antiabuse", "x-local-user",
    "x-php-script", "x-php-filename", "x-php-originating-script", "x-source", "x-source-args",
    "x-source-dir", "x-source-sender", "x-webmail-user", "x-webmail-remote-addr",
    "x-originatororg", "x-ms-exchange-organization-*", "x-ms-exchange-forest-*",
)  # fmt: skip
"""What "defaults" stands for in `remove_headers`: addresses, users and paths of the inside, blind copies."""

_TREATMENTS: Final[tuple[ReceivedTreatment, ...]] = ("keep", "pseudonymise", "remove")
_INDISPENSABLE: Final = frozenset(
    {
        b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to",
        b"references", b"mime-version", b"received", b"return-path", b"resent-from", b"resent-date",
        b"resent-to", b"resent-cc", b"resent-sender", b"resent-message-id",
    }
)  # fmt: skip
_INDISPENSABLE_KINDS: Final = (b"content-", b"arc-", b"list-")
_SIGNATURE: Final = b"-signature"
_SIGNED: Final = re.compile(rb"(?:^|;)\s*h\s*=([^;]*)")
_FROM: Final = re.compile(r"\bfrom\s+\S+(?:\s+\([^)]*\))?", re.IGNORECASE)
_BY: Final = re.compile(r"\bby\s+(\S+)", re.IGNORECASE)
_WITH: Final = re.compile(r"\bwith\s+([A-Za-z0-9-]{1,32})", re.IGNORECASE)
_DATE: Final = re.compile(r";\s*([A-Za-z0-9,:+ -]{10,64})")
_PSEUDONYM_BYTES: Final = 8


def is_indispensable(name: str) -> bool:
    """Whether a field is one that mail does not work without, or that has a setting of its own.

    For names with `*` at the end: whether one of those it stands for is.
    """
    plain = name.lower().encode()
    if plain.endswith(b"*"):
        prefix = plain[:-1]
        kinds = (*_INDISPENSABLE, *_INDISPENSABLE_KINDS, b"dkim" + _SIGNATURE)
        return any(kind.startswith(prefix) or prefix.startswith(kind) for kind in kinds)
    is_kind = plain.startswith(_INDISPENSABLE_KINDS) or plain.endswith(_SIGNATURE)
    return plain in _INDISPENSABLE or is_kind


def hygiene_by_way(settings: Settings, key: bytes) -> dict[tuple[str, str], Hygiene]:
    """Return what is done on the way from a listener to a route, by their names; ways without are left out.

    Both have a say: what either takes out is out, and the stricter word on Received counts.
    """
    found = {}
    for listener in settings.listener:
        for name, route in settings.route.items():
            names = (*listener.remove_headers, *route.remove_headers)
            received = max(listener.received, route.received, key=_TREATMENTS.index)
            if names or received != "keep":
                way = (listener.name, name)
                found[way] = Hygiene.of(names, received, settings.hostname, key)
    return found


class Hygiene(NamedTuple):
    """What is done to the header of mail that goes one way.

    `names` and `prefixes` are of fields to take out, in lower case. `received` is what becomes of the
    Received fields of others. `key` makes pseudonyms, so that nobody can try names out.
    """

    names: frozenset[bytes]
    prefixes: tuple[bytes, ...]
    received: ReceivedTreatment
    hostname: str
    key: bytes

    @classmethod
    def of(
        cls, names: Iterable[str], received: ReceivedTreatment, hostname: str, key: bytes
    ) -> Hygiene:
        """Make one of the operator's names, `"defaults"` and `X-Internal-*` among them."""
        plain: set[str] = set()
        for name in names:
            plain.update(DEFAULTS if name == "defaults" else (name.lower(),))
        return cls(
            frozenset(name.encode() for name in plain if not name.endswith("*")),
            tuple(sorted(name[:-1].encode() for name in plain if name.endswith("*"))),
            received,
            hostname.lower(),
            key,
        )

    def changes(self, block: HeaderBlock) -> Mapping[Field, bytes]:
        """Return what stands in the place of fields: b"" for those that are taken out."""
        found: dict[Field, bytes] = {}
        covered: Collection[bytes] | None = None
        for field in block.fields:
            if not self._concerns(field.name):
                continue
            if covered is None:
                covered = _covered(block)
            if field.name in covered:
                continue
            if field.name != b"received":
                found[field] = b""
            elif (changed := self._received(block.value(field))) is not None:
                found[field] = changed
        return found

    def origin(self, received: str) -> str:
        """Return the beginning of our own Received field, which tells where a message comes from."""
        if self.received == "keep":
            return received
        return f"Received: from {self._pseudonym(received.partition(chr(13))[0])}"

    def _concerns(self, name: bytes) -> bool:
        if name == b"received":
            return self.received != "keep"
        return name in self.names or (bool(self.prefixes) and name.startswith(self.prefixes))

    def _received(self, value: str) -> bytes | None:
        """What becomes of a Received field; None: it stays.

        Our own ones stay, so that a message that comes again and again is found out (RFC 5321 6.3).
        """
        by = _BY.search(value)
        if by is not None and by[1].lower().rstrip(";") == self.hostname:
            return None
        if self.received == "remove":
            return b""
        clauses = []
        if sender := _FROM.search(value):
            clauses.append(f"from {self._pseudonym(sender[0])}")
        if by is not None:
            clauses.append(f"by {self._pseudonym(by[1])}")
        if protocol := _WITH.search(value):
            clauses.append(f"with {protocol[1]}")
        text = " ".join(clauses) or f"by {self._pseudonym(value)}"
        date = _DATE.search(value)
        return f"Received: {text}{f'; {date[1].strip()}' if date else ''}\r\n".encode()

    def _pseudonym(self, text: str) -> str:
        """A name that stands for another: the same one each time, as long as the key is."""
        plain = text.lower().encode("utf-8", "surrogateescape")
        digest = blake2b(plain, key=self.key, digest_size=_PSEUDONYM_BYTES).hexdigest()
        return f"p{digest}.invalid"


def _covered(block: HeaderBlock) -> Collection[bytes]:
    """The names of all fields that some signature covers, whether it holds or not."""
    names: set[bytes] = set()
    for field in block.fields:
        if field.name.endswith(_SIGNATURE):  # DKIM, ARC, and what others sign with in the same form
            value = block.message[field.start : field.stop].partition(b":")[2]
            for found in _SIGNED.finditer(value):
                names.update(name.strip().lower() for name in found[1].split(b":"))
    return names
