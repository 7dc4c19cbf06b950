"""Named lists that rules ask: `lists.partners.has(sender.domain)`.

A list is of texts, of domains or of networks, and knows what "in it" means for its kind. Reads text,
not files.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from relay.errors import ConfigurationError
from relay.pki.patterns import canonical_domain
from relay.policy.networks import NetworkTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ListKind", "NamedList", "parse_entries"]


class ListKind(StrEnum):
    """What a list holds, and so what "in it" means."""

    EXACT = "exact"
    """Texts: in it is what is written there, without regard to case."""
    DOMAIN = "domain"
    """Domains: in it is the domain itself and all below it."""
    NETWORK = "network"
    """Addresses and networks: in it is what lies in one of them."""


class NamedList:
    """One list. `has` never raises: a text that is no domain or no address is in no list.

    Args:
        kind: what it holds.
        entries: its entries, as the operator wrote them.

    Raises:
        ConfigurationError: an entry is not of that kind; without a place.
    """

    def __init__(self, kind: ListKind, entries: Iterable[str]) -> None:
        self.kind = kind
        self.has: Callable[[str], bool]
        if kind is ListKind.NETWORK:
            self._networks = _network_table(entries)
            self.has = self._has_address
        elif kind is ListKind.DOMAIN:
            self._domains = frozenset(map(_parse_domain, entries))
            self.has = self._has_domain
        else:
            self._texts = frozenset(entry.casefold() for entry in entries)
            self.has = self._has_text

    def _has_text(self, text: str) -> bool:
        return text.casefold() in self._texts

    def _has_address(self, text: str) -> bool:
        return any(self._networks.find(text))

    def _has_domain(self, text: str) -> bool:
        labels = canonical_domain(text).split(".")
        return any(".".join(labels[start:]) in self._domains for start in range(len(labels)))


def _network_table(entries: Iterable[str]) -> NetworkTable[bool]:
    networks: NetworkTable[bool] = NetworkTable()
    for entry in entries:
        try:
            networks.put(entry, value=True)
        except ValueError:
            raise ConfigurationError(
                f"{entry!r} is no network",
                remedy='write it as "192.0.2.0/24", "2001:db8::/32" or one address',
            ) from None
    return networks


def _parse_domain(text: str) -> str:
    domain = canonical_domain(text.strip().removeprefix("*.").removeprefix("."))
    if not domain or "@" in domain or any(character.isspace() for character in domain):
        raise ConfigurationError(f"{text!r} is no domain", remedy='write it as "example.org"')
    return domain


def parse_entries(text: str) -> list[tuple[int, str]]:
    """Read a list's file: one entry a line, `#` begins a comment; return each with its line, from 1."""
    stripped = (line.partition("#")[0].strip() for line in text.splitlines())
    return [(number, line) for number, line in enumerate(stripped, 1) if line]
