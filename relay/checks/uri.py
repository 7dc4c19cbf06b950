"""Where the links in a message's texts lead, and whether lists in the DNS know those places.

Knows nothing of the rest of the message. Finding links is in `mail/links.py`, asking lists in
`dns_lists`. RFC 5782.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from relay.checks.dns_lists import DnsList, DnsLists, Limits
from relay.mail import headers
from relay.mail.domains import registered_domain
from relay.mail.links import links_of
from relay.mail.mime import structure_of
from relay.policy.facts import Fact, FactType, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.mail.links import Links
    from relay.policy.case import Case
    from relay.policy.check import Offload, Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "Settings", "UriCheck", "build"]

FACTS: Final = (
    Fact(
        "uri.domains",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The registered domains that links in the texts lead to, each once; the first 100.",
    ),
    Fact(
        "uri.addresses",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The addresses that links lead to without a name, however they are spelled.",
    ),
    Fact(
        "uri.mismatch",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a link shows a name of one domain and leads to another.",
    ),
    Fact(
        "uri.listed",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a block list (of a weight above 0) lists a place that a link leads to.",
    ),
    Fact(
        "uri.score",
        FactType.DOUBLE,
        Stage.MESSAGE,
        "The sum of the weights of the lists that list such a place, each list counted once.",
    ),
    Fact("uri.lists", FactType.STRINGS, Stage.MESSAGE, "The block lists that list such a place."),
    Fact(
        "uri.unanswered",
        FactType.STRINGS,
        Stage.MESSAGE,
        'The lists that were not counted and why, as "uribl.example.org: silent".',
    ),
)

_LARGE_BYTES: Final = 8 * 1024  # HTML of nothing but links: 4 ms
_MAX_SHOWN: Final = 100


class UriList(DnsList):
    """One list; `[[checks.uri.list]]`, as often as there are lists."""

    about: Literal["domain", "address"] = "domain"
    """What is looked up: the domains of links, or addresses that stand in links."""


class Settings(Limits):
    """Links in texts. No list is asked unless it stands here, and a rule names a fact that needs it."""

    list: tuple[UriList, ...] = ()
    """The lists that are asked, all at once."""

    max_domains: int = Field(default=50, ge=1, le=200)
    """How many domains of a message are looked up."""

    ignore: tuple[str, ...] = ("w3.org",)
    """Registered domains that are never looked up; all else of links is reported all the same."""


def build(settings: Settings, tools: Tools) -> UriCheck:
    """Make the check."""
    by_name, by_address = (
        DnsLists(
            (each for each in settings.list if each.about == about),
            tools.resolver,
            tools.clock,
            settings,
        )
        for about in ("domain", "address")
    )
    return UriCheck(by_name, by_address, settings, tools.offload)


class UriCheck:
    """Reads the texts, and asks the lists if a rule wants to know (`policy.check.WaitingCheck`)."""

    def __init__(
        self, by_name: DnsLists, by_address: DnsLists, settings: Settings, offload: Offload
    ) -> None:
        self._by_name = by_name
        self._by_address = by_address
        self._max_domains = settings.max_domains
        self._ignored = frozenset(settings.ignore)
        self._offload = offload

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the links; lists that can't say are named in `uri.unanswered`."""
        if wanted <= _OF_LISTS and not (self._by_name or self._by_address):
            return {"uri.listed": False, "uri.score": 0.0, "uri.lists": (), "uri.unanswered": ()}
        block = case.header or headers.split(case.message)
        if len(case.message) > _LARGE_BYTES:
            links = await self._offload(lambda: links_of(block.message, structure_of(block)))
        else:
            links = links_of(block.message, structure_of(block))
        facts: dict[str, Value] = {
            "uri.domains": tuple(dict.fromkeys(map(registered_domain, links.names)))[:_MAX_SHOWN],
            "uri.addresses": tuple(map(str, links.addresses))[:_MAX_SHOWN],
            "uri.mismatch": bool(links.mismatches),
        }
        if wanted & _OF_LISTS:
            facts |= await self._list_facts(links)
        return facts

    async def _list_facts(self, links: Links) -> dict[str, Value]:
        names = [name for name in links.names if registered_domain(name) not in self._ignored]
        of_names, of_addresses = await asyncio.gather(
            self._by_name.look_up(names[: self._max_domains]),
            self._by_address.look_up(links.addresses[: self._max_domains]),
        )
        return {
            "uri.listed": bool(of_names.listed or of_addresses.listed),
            "uri.score": of_names.score + of_addresses.score,
            "uri.lists": of_names.listed + of_addresses.listed,
            "uri.unanswered": of_names.unanswered + of_addresses.unanswered,
        }


_OF_LISTS: Final = frozenset({"uri.listed", "uri.score", "uri.lists", "uri.unanswered"})
