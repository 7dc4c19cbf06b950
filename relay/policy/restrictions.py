"""Who is banned, suspended or revoked: the restrictions in force, looked up without waiting.

A view that somebody else keeps up to date (`state/watching.py`), moves the time on included. Knows
no store, no clock and no consequences.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from relay.model import RestrictionKind

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView

    from relay.model import Network, Restriction

__all__ = ["Restrictions"]


class Restrictions:
    """All restrictions, found by address, identity or key.

    Attributes:
        now: the moment that look-ups are about, in seconds since 1970.
        is_known: whether the store has been heard of at all.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.is_known = False
        self._all: dict[tuple[RestrictionKind, str], Restriction] = {}
        # Per address family a table for each prefix length in use, the longest first: a look-up
        # is one dictionary for each length, however many networks there are.
        self._banned_v4: dict[int, dict[int, Restriction]] = {}
        self._banned_v6: dict[int, dict[int, Restriction]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Restriction]:
        return iter(self._all.values())

    def keys(self) -> KeysView[tuple[RestrictionKind, str]]:
        """Return the kind and the subject of each."""
        return self._all.keys()

    def banned(self, address: IPv4Address | IPv6Address | None) -> Restriction | None:
        """Return the ban in force of the smallest network around an address; a Unix socket has none."""
        if address is None or not (self._banned_v4 or self._banned_v6):
            return None
        now, number = self.now, int(address)
        tables = self._banned_v4 if address.version == 4 else self._banned_v6
        for shift, table in tables.items():
            found = table.get(number >> shift)
            if found is not None and found.is_in_force(now):
                return found
        return None

    def suspended(self, identity: str) -> Restriction | None:
        """Return the suspension in force of an identity, by its name."""
        return self._in_force(RestrictionKind.SUSPENSION, identity)

    def revoked(self, key: str) -> Restriction | None:
        """Return the revocation in force of a key, by its pin in canonical spelling."""
        return self._in_force(RestrictionKind.REVOCATION, key)

    def last(self, kind: RestrictionKind, subject: str) -> Restriction | None:
        """Return what was last in force against a subject, be it over: the next may last longer."""
        return self._all.get((kind, subject))

    def put(self, restriction: Restriction) -> bool:
        """Take one up, in place of another; return whether its subject can be read."""
        key = (restriction.kind, restriction.subject)
        if restriction.kind is RestrictionKind.BAN:
            try:
                network = ip_network(restriction.subject)
            except ValueError:
                return False
            self._put_ban(network, restriction)
        self._all[key] = restriction
        return True

    def drop(self, kind: RestrictionKind, subject: str) -> None:
        """Forget one."""
        dropped = self._all.pop((kind, subject), None)
        if dropped is None or kind is not RestrictionKind.BAN:
            return
        tables, shift, prefix = self._place_of(ip_network(subject))
        # One network may be spelled in two ways; the later one stands here.
        if tables.get(shift, {}).get(prefix) is dropped:
            del tables[shift][prefix]
            if not tables[shift]:
                del tables[shift]

    def _in_force(self, kind: RestrictionKind, subject: str) -> Restriction | None:
        found = self._all.get((kind, subject))
        return found if found is not None and found.is_in_force(self.now) else None

    def _put_ban(self, network: Network, restriction: Restriction) -> None:
        tables, shift, prefix = self._place_of(network)
        if shift not in tables:
            tables[shift] = {}
            for each in sorted(tables):  # the smallest shift is the longest prefix: in front
                tables[each] = tables.pop(each)
        tables[shift][prefix] = restriction

    def _place_of(
        self, network: IPv4Network | IPv6Network
    ) -> tuple[dict[int, dict[int, Restriction]], int, int]:
        shift = network.max_prefixlen - network.prefixlen
        tables = self._banned_v4 if network.version == 4 else self._banned_v6
        return tables, shift, int(network.network_address) >> shift
