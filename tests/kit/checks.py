"""What a check under test needs: a case, tools that are fakes, and one call that asks for facts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from relay.mail import headers
from relay.model import Address, Endpoint, Sender
from relay.policy.case import Case
from relay.policy.check import Check, Tools
from tests.kit.clock import FakeClock
from tests.kit.zones import FakeResolver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.policy.check import CountryOf, WaitingCheck
    from relay.policy.facts import Stage, Value
    from relay.ports import Store
    from tests.kit.zones import Zones

__all__ = ["Offloading", "ask", "case", "message_case", "tools"]


class Offloading:
    """Does the work at once, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, work: Callable[[], Any]) -> Any:
        self.times += 1
        return work()


def tools(
    resolver: FakeResolver | Zones | None = None,
    *,
    hostname: str = "edge.example.org",
    clock: FakeClock | None = None,
    offload: Offloading | None = None,
    country_of: CountryOf | None = None,
) -> Tools:
    """Tools over a fake resolver, or over zones for one; there is no store."""
    return Tools(
        hostname=hostname,
        clock=clock or FakeClock(),
        resolver=resolver if isinstance(resolver, FakeResolver) else FakeResolver(resolver),
        store=cast("Store", None),
        offload=offload or Offloading(),
        country_of=country_of,
    )


def case(peer: str = "192.0.2.1", *, hello: str = "", sender: str = "") -> Case:
    """A case up to MAIL; `sender` is an address, "" the null sender."""
    local, _, domain = sender.rpartition("@")
    return Case(
        Endpoint(peer, 0 if peer.startswith("/") else 25025),
        "public",
        hello=hello,
        sender=Sender(Address(local, domain) if sender else None),
    )


def message_case(message: bytes) -> Case:
    """A case at the end of a message."""
    made = case(sender="alice@example.org")
    made.message = message
    made.header = headers.split(message)
    made.authors = made.header.authors
    return made


def ask(check: Check | WaitingCheck, about: Case, stage: Stage, *names: str) -> Mapping[str, Value]:
    """Return the named facts, and only them."""
    wanted = frozenset(names)
    if isinstance(check, Check):
        found = check.report(about, stage, wanted)
    else:
        found = asyncio.run(check.gather(about, stage, wanted))
    return {name: found[name] for name in names}
