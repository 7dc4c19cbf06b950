"""What we sign of a message that leaves: that we vouch for its author's domain, and for who sent it.

Chooses the keys and makes the fields; what stands in the message, and that it is signed at all, is for others
to say. An identity gets the signature of a domain only if its `senders` say that it may send as the author:
one without `senders` may send as anybody, and so proves nothing. The relay's own signature is no way round
that: whose author is of the relay's organization, and not proven, does not get it, for DMARC would take it
for the author's (RFC 9989 4.4). RFC 6376 5.1, RFC 6376 3.5 (i=).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.mail.domains import registered_domain
from relay.mail.headers import split
from relay.mailauth.canonicalization import FieldStack, body_start, hashing
from relay.mailauth.signing import OVERSIGNED, SIGNED, SigningStyle, sign_hashed
from relay.names import IDENTITY_HEADER
from relay.pki.allowlist import may_send
from relay.pki.patterns import canonical_domain
from relay.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.mailauth.keyring import Keyring
    from relay.mailauth.signing import SigningKey
    from relay.model import Octets
    from relay.policy.case import Case
    from relay.ports import Clock

__all__ = ["Signing"]

_IDENTITY: Final = IDENTITY_HEADER.lower().encode()
# Not Received: every hop adds one, and RFC 6376 5.4.1 advises against it.
_IDENTITY_SIGNED: Final = (_IDENTITY, b"authentication-results", *SIGNED)
_IDENTITY_OVERSIGNED: Final = (_IDENTITY, *OVERSIGNED)
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs what leaves a worker.

    Args:
        keyring: the keys in force.
        clock: tells when it is signed.
    """

    keyring: Keyring
    clock: Clock

    async def sign(self, chunks: list[Octets], case: Case) -> list[Octets]:
        """Return the message as it leaves us with signatures in front, if any are due.

        Args:
            chunks: the message, our fields in front; the last one has at least all of the body.
            case: the message as it came, and who sent it.
        """
        is_proven = _is_proven(case)
        author_keys = self._author_keys(case) if is_proven else ()
        own_keys = [
            key for key in self.keyring.identity if is_proven or not _is_related(case, key.domain)
        ]
        if not author_keys and not own_keys:
            return chunks
        header = case.header
        assert header is not None
        body = await in_turns(hashing(header.message, body_start(header), relaxed=True))
        digest = body.digests[None]
        stack = _stack_of(chunks, len(header.message) - body_start(header))
        now, lifetime = self.clock.now(), self.keyring.lifetime
        fields = b""
        if author_keys:
            style = SigningStyle(lifetime=lifetime)
            fields = sign_hashed(stack, digest, author_keys, now, style=style)
        for key in own_keys:
            style = SigningStyle(
                signed=_IDENTITY_SIGNED,
                oversigned=_IDENTITY_OVERSIGNED,
                lifetime=lifetime,
                identity=_on_behalf_of(case, key),
            )
            fields += sign_hashed(stack, digest, [key], now, style=style)
        return [fields, *chunks]

    def _author_keys(self, case: Case) -> tuple[SigningKey, ...]:
        """The keys of the author's domain."""
        domains = {canonical_domain(author.domain) for author in case.authors or ()}
        return self.keyring.authors.get(domains.pop(), ()) if len(domains) == 1 else ()


def _is_proven(case: Case) -> bool:
    """Whether who sends the message may send as its authors, by name."""
    identity, authors = case.identity, case.authors
    if identity is None or identity.senders is None or not authors:
        return False
    return all(may_send(identity, author) for author in authors)


def _is_related(case: Case, domain: str) -> bool:
    """Whether an author is of the organization of `domain`, or might be taken to be."""
    organization = registered_domain(canonical_domain(domain))
    if case.authors is not None:
        of_authors = (canonical_domain(author.domain) for author in case.authors)
        return any(f".{each}".endswith(f".{organization}") for each in of_authors)
    header = case.header
    assert header is not None
    return any(organization in header.value(each).lower() for each in header.named(b"from"))


def _stack_of(chunks: Sequence[Octets], body_bytes: int) -> FieldStack:
    """The header fields as they leave us; of the body nothing is copied."""
    *first, last = chunks
    header = b"".join((*first, last[: len(last) - body_bytes]))
    return FieldStack.of(split(header, is_limited=False))


def _on_behalf_of(case: Case, key: SigningKey) -> str:
    """Name in i= for whom the relay signs; "" where nobody is identified, or the name can't stand there."""
    identity = case.identity
    if identity is None or not _LOCAL_PART.fullmatch(identity.name):
        return ""
    return f"{identity.name}@{key.domain}"
