"""What the client calls itself in EHLO, and whether that can be true.

Knows nothing of the reverse tree (`peer`): a name matches if it leads to the client's address,
whatever the address is called. RFC 5321 2.3.5, 4.1.1.1, 4.1.3.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable
from relay.policy.facts import Fact, FactType, Missing, Stage
from relay.settings.table import Table
from relay.settings.values import is_host_name
from relay.smtp.grammar import is_hello_name, is_literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address

    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value
    from relay.ports import Resolver

__all__ = ["FACTS", "Settings", "build"]

FACTS: Final = (
    Fact(
        "hello.name",
        FactType.STRING,
        Stage.HELLO,
        "The name or address literal that the client gave, in lower case.",
    ),
    Fact(
        "hello.valid",
        FactType.BOOL,
        Stage.HELLO,
        "Whether it is a domain name or an address literal; an address without brackets is neither.",
    ),
    Fact(
        "hello.is_fqdn",
        FactType.BOOL,
        Stage.HELLO,
        "Whether it is a name with a dot, as a host in the Internet has one.",
    ),
    Fact(
        "hello.literal",
        FactType.BOOL,
        Stage.HELLO,
        'Whether it is an address literal, as "[192.0.2.1]".',
    ),
    Fact(
        "hello.literal_matches",
        FactType.BOOL,
        Stage.HELLO,
        "Whether it is the address literal of the client's own address.",
    ),
    Fact(
        "hello.ours",
        FactType.BOOL,
        Stage.HELLO,
        "Whether the client calls itself by our own name: nobody but us may.",
    ),
    Fact(
        "hello.resolves",
        FactType.BOOL,
        Stage.HELLO,
        "Whether the name has an address or a mail exchanger; a literal has.",
    ),
    Fact(
        "hello.matches",
        FactType.BOOL,
        Stage.HELLO,
        "Whether the name leads to the client's address, or the literal is it.",
    ),
)


class Settings(Table):
    """There is nothing to set: what is asked follows from the rules."""


def build(_settings: Settings, tools: Tools) -> HelloCheck:
    """Make the check."""
    return HelloCheck(tools.hostname, tools.resolver)


class HelloCheck:
    """Asks the DNS only for `resolves` and `matches` (`policy.check.WaitingCheck`)."""

    def __init__(self, hostname: str, resolver: Resolver) -> None:
        self._hostname = hostname.lower()
        self._resolver = resolver

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the name; what the DNS can't say now is `Missing`."""
        name = case.hello.lower().removesuffix(".")
        literal = name if name.startswith("[") else ""
        address = case.peer.ip
        is_fqdn = not literal and "." in name and is_host_name(name)
        facts: dict[str, Value] = {
            "hello.name": name,
            "hello.valid": is_hello_name(name) and (bool(literal) or is_host_name(name)),
            "hello.is_fqdn": is_fqdn,
            "hello.literal": bool(literal) and is_hello_name(name),
            "hello.literal_matches": address is not None and _literal_address(literal) == address,
            "hello.ours": name == self._hostname,
        }
        if "hello.matches" in wanted:
            facts["hello.matches"] = (
                await self._leads_to(name, address) if is_fqdn else facts["hello.literal_matches"]
            )
        if "hello.resolves" in wanted:
            facts["hello.resolves"] = (
                await self._resolves(name) if is_fqdn else facts["hello.literal"]
            )
        return facts

    async def _leads_to(
        self, name: str, address: IPv4Address | IPv6Address | None
    ) -> bool | Missing:
        if address is None:
            return False
        try:
            answer = await self._resolver.resolve(name, "A" if address.version == 4 else "AAAA")
        except Unavailable as error:
            return Missing(str(error))
        return any(_address(record) == address for record in answer.records)

    async def _resolves(self, name: str) -> bool | Missing:
        kinds = ("A", "AAAA", "MX")
        answers = await asyncio.gather(
            *(self._resolver.resolve(name, kind) for kind in kinds), return_exceptions=True
        )
        problem = None
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, Unavailable):
                problem = Missing(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif any(kind != "MX" or not _is_null(record) for record in answer.records):
                return True
        return problem or False


def _literal_address(literal: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a literal (RFC 5321 4.1.3), IPv4-mapped IPv6 unwrapped."""
    if not is_literal(literal):
        return None
    tag, colon, text = literal[1:-1].partition(":")
    if not colon:
        return _address(tag)
    return _address(text) if tag == "ipv6" else None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_null(record: str) -> bool:
    """Whether an MX record says that there is no mail (RFC 7505 3)."""
    return not record.partition(" ")[2].strip(".")
