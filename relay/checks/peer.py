"""What the client's address says: its network, and the name that the reverse tree gives it.

Knows nothing of what the client says of itself (`hello`), nor of lists it may be on (`dnsbl`).
RFC 1035 3.5: the reverse tree; RFC 8601 2.7.3: a name counts once it leads back to the address.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from pydantic import Field

from relay.errors import Unavailable
from relay.mail.authentication_results import MethodResult
from relay.model import Endpoint
from relay.policy.facts import Fact, FactType, Missing, Stage
from relay.policy.ledger import network_of
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from relay.policy.case import Case
    from relay.policy.check import CountryOf, Tools
    from relay.policy.facts import Value
    from relay.ports import Resolver

__all__ = ["FACTS", "Settings", "build"]

FACTS: Final = (
    Fact(
        "peer.address",
        FactType.STRING,
        Stage.CONNECT,
        'The address of the client, as "192.0.2.1" or "2001:db8::1"; "" on a Unix socket.',
    ),
    Fact(
        "peer.network",
        FactType.STRING,
        Stage.CONNECT,
        'Its network, as "192.0.2.0/24" or "2001:db8::/64": what one customer usually has.',
    ),
    Fact(
        "peer.is_local",
        FactType.BOOL,
        Stage.CONNECT,
        "Whether it is of our own side: a loopback, private or link-local address, or a Unix socket.",
    ),
    Fact(
        "peer.reverse_name",
        FactType.STRING,
        Stage.CONNECT,
        'The name that the DNS gives to its address: one that leads back to it, if any; "" for none.',
    ),
    Fact(
        "peer.reverse_confirmed",
        FactType.BOOL,
        Stage.CONNECT,
        "Whether `peer.reverse_name` leads back to the address.",
    ),
    Fact(
        "peer.looks_dynamic",
        FactType.BOOL,
        Stage.CONNECT,
        "Whether `peer.reverse_name` looks given out in bulk: holds the address, or a word like dsl.",
    ),
    Fact(
        "peer.country",
        FactType.STRING,
        Stage.CONNECT,
        'The country of its address, as "DE"; "" if nobody knows. Needs `[checks] country_database`.',
    ),
)

_OF_THE_ADDRESS: Final = frozenset({"peer.address", "peer.network", "peer.is_local"})
_OF_THE_NAME: Final = frozenset(
    {"peer.reverse_name", "peer.reverse_confirmed", "peer.looks_dynamic"}
)


class Settings(Table):
    """What is asked about the client's address."""

    max_names: int = Field(default=10, ge=1, le=100)
    """How many names of one address are looked at: more say nothing (as RFC 7208 4.6.4)."""


def build(settings: Settings, tools: Tools) -> PeerCheck:
    """Make the check."""
    return PeerCheck(tools.resolver, settings.max_names, tools.country_of)


class PeerCheck:
    """Asks the reverse tree, and only if a rule wants to know (`policy.check.PromptCheck`)."""

    keeps_time = False

    def __init__(self, resolver: Resolver, max_names: int, country_of: CountryOf | None) -> None:
        self._resolver = resolver
        self._max_names = max_names
        self._country_of = country_of

    def at_once(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value] | None:
        """Report what the address itself says, if no more is wanted."""
        return _address_facts(case.peer.address) if wanted <= _OF_THE_ADDRESS else None

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the address; what the DNS can't say now is `Missing`."""
        address, facts = case.peer.ip, {**_address_facts(case.peer.address)}
        if "peer.country" in wanted:
            facts["peer.country"] = self._country(address)
        if wanted & _OF_THE_NAME:
            facts |= await self._name_facts(address)
        return facts

    def _country(self, address: IPv4Address | IPv6Address | None) -> str | Missing:
        if self._country_of is None:
            return Missing("no country_database in [checks]")
        try:
            return "" if address is None else self._country_of(address)
        except Unavailable as error:
            return Missing(str(error))

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Say whether the name leads back to the address (`policy.check.Witness`, RFC 8601 2.7.3)."""
        confirmed = facts.get("peer.reverse_confirmed")
        if confirmed is None or case.peer.ip is None:
            return ()
        result = "temperror" if isinstance(confirmed, Missing) else "pass" if confirmed else "fail"
        return (MethodResult("iprev", result, (("policy.iprev", str(case.peer.ip)),)),)

    async def _name_facts(self, address: IPv4Address | IPv6Address | None) -> dict[str, Value]:
        try:
            names = [] if address is None else await self._names(address)
        except Unavailable as error:
            return dict.fromkeys(_OF_THE_NAME, Missing(str(error)))
        confirmed, problem = await self._confirmed(names, address)
        name = confirmed or (names[0] if names else "")
        unknown = not confirmed and problem is not None
        return {
            "peer.reverse_name": name,
            "peer.reverse_confirmed": problem if unknown and problem else bool(confirmed),
            "peer.looks_dynamic": address is not None and _looks_dynamic(name, address),
        }

    async def _names(self, address: IPv4Address | IPv6Address) -> list[str]:
        answer = await self._resolver.resolve(address.reverse_pointer, "PTR")
        return sorted(answer.records)[: self._max_names]

    async def _confirmed(
        self, names: list[str], address: IPv4Address | IPv6Address | None
    ) -> tuple[str, Missing | None]:
        """Return the first name that leads back, else "" and why that may not be the last word."""
        if address is None or not names:
            return "", None
        kind = "A" if address.version == 4 else "AAAA"
        answers = await asyncio.gather(
            *(self._resolver.resolve(name, kind) for name in names), return_exceptions=True
        )
        problem = None
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Unavailable):
                problem = Missing(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif any(_is_address(record, address) for record in answer.records):
                return name, None
        return "", problem


@lru_cache(maxsize=4096)  # asked for each connection, and clients come again
def _address_facts(address: str) -> Mapping[str, Value]:
    peer = Endpoint(address, 0)
    return {
        "peer.address": "" if peer.ip is None else str(peer.ip),
        "peer.network": network_of(peer),
        "peer.is_local": peer.is_local,
    }


def _is_address(text: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(text) == address
    except ValueError:
        return False


# --- names given out in bulk --------------------------------------------------------------------

_BULK_WORD: Final = re.compile(
    r"(?<![a-z])(?:dyn|dynamic|dynip|dhcp|dial|dialin|dialup|dsl|[avhsx]dsl|ppp|pppoe|pool|cable|cpe"
    r"|catv|modem|broadband|mobile|wireless|wifi|residential|gprs|lte|umts|wimax|ftt[bhx])(?![a-z])"
)
_STATIC_WORD: Final = re.compile(r"(?<![a-z])(?:static|mail|smtp|mx|mta)(?![a-z])")
_SEEN_IN_A_ROW: Final = 3  # octets of the address that a name must hold: two are chance


def _looks_dynamic(name: str, address: IPv4Address | IPv6Address) -> bool:
    if not name:
        return False
    if _holds_address(name, address):
        return True
    return _BULK_WORD.search(name) is not None and _STATIC_WORD.search(name) is None


def _holds_address(name: str, address: IPv4Address | IPv6Address) -> bool:
    if address.version == 6:
        # "2001-db8-…": the nibbles behind the network's, separators and compression aside
        nibbles = address.exploded.replace(":", "")
        return nibbles[16:] in re.sub(r"[^0-9a-f]", "", name)
    octets = list(address.packed)
    if address.packed.hex() in name or "".join(f"{octet:03}" for octet in octets) in name:
        return True
    numbers = [int(digits) for digits in re.findall(r"(?<!\d)\d{1,3}(?!\d)", name)]
    rows = [
        row[start : start + _SEEN_IN_A_ROW] for row in (octets, octets[::-1]) for start in (0, 1)
    ]
    return any(
        numbers[start : start + _SEEN_IN_A_ROW] in rows
        for start in range(len(numbers) - _SEEN_IN_A_ROW + 1)
    )
