"""The keys of ours that sign, by what each of them says: whose mail it is, who sent it, what we have found.

It knows no file and no message; which of them a message gets, `inbound.signing` says.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import timedelta

    from relay.mailauth.signing import SigningKey

__all__ = ["NO_KEYS", "Keyring", "Use"]

Use = Literal["author", "identity", "seal"]
"""What a key signs: see `settings.DkimKey.use`."""


class Keyring(NamedTuple):
    """The keys in force.

    `authors` has those of a domain by its canonical spelling, `identity` those that vouch for who sent a
    message, `seal` the one for ARC. Signatures hold for `lifetime`, None: without end.
    """

    authors: Mapping[str, tuple[SigningKey, ...]]
    identity: tuple[SigningKey, ...] = ()
    seal: SigningKey | None = None
    lifetime: timedelta | None = None

    @classmethod
    def of(
        cls,
        keys: Iterable[tuple[SigningKey, Collection[Use]]],
        lifetime: timedelta | None = None,
    ) -> Keyring:
        """Sort keys by their uses."""
        authors: dict[str, tuple[SigningKey, ...]] = {}
        by_use: dict[Use, list[SigningKey]] = {"identity": [], "seal": []}
        for key, uses in keys:
            if "author" in uses:
                domain = canonical_domain(key.domain)
                authors[domain] = (*authors.get(domain, ()), key)
            for use in by_use.keys() & uses:
                by_use[use].append(key)
        # Others read seals of RSA keys only: RFC 8617 4.1.2 knew no other when they were written.
        seals = sorted(by_use["seal"], key=lambda each: not isinstance(each.key, RSAPrivateKey))
        return cls(authors, tuple(by_use["identity"]), seals[0] if seals else None, lifetime)

    def of_author(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign for the author's domain, however it is spelled."""
        return self.authors.get(canonical_domain(domain), ())

    @property
    def signs(self) -> bool:
        """Whether there is anything to sign with, seals apart."""
        return bool(self.authors or self.identity)


NO_KEYS: Final = Keyring(MappingProxyType({}))
"""For who signs nothing."""
