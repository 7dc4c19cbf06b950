"""What a check is: one file of `checks/`, one fact prefix, one table `[checks.<prefix>]`.

A module `checks/dnsbl.py` holds `FACTS` (its declarations, each named "dnsbl.<word>"), `Settings`
(a `settings.table.Table`, every key with a default) and `build(settings, tools) -> Check | WaitingCheck`.
Assembly finds it by its file; nothing else needs to be told of it. A check reports and never
decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from relay.mail.authentication_results import MethodResult
    from relay.policy.case import Case
    from relay.policy.facts import Stage, Value
    from relay.ports import Clock, Resolver, Store

__all__ = ["Check", "CountryOf", "Offload", "PromptCheck", "Tools", "WaitingCheck", "Witness"]

_T = TypeVar("_T")


class Offload(Protocol):
    """Runs what would hold the event loop up (over 64 kB of CPU-heavy work) beside it."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]:
        """Return what `work` returns, once it is done."""
        ...


class CountryOf(Protocol):
    """Knows which country an address is of."""

    def __call__(self, address: IPv4Address | IPv6Address) -> str:
        """Return the ISO 3166 code, "" if nobody knows. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What of the world a check may use.

    `findings` is where checks leave what others need whole and not as facts (`checks/findings.py`).
    """

    hostname: str
    clock: Clock
    resolver: Resolver
    store: Store
    offload: Offload
    findings: dict[str, object] = field(default_factory=dict)
    country_of: CountryOf | None = None


@runtime_checkable
class Check(Protocol):
    """A check that knows at once."""

    def report(self, case: Case, stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return at least the wanted facts (full names) of those declared for `stage`.

        Never raises for what a client sent: what can't be said is `Missing`.
        """
        ...


@runtime_checkable
class WaitingCheck(Protocol):
    """A check that asks the world; the caller sets the deadline and runs checks side by side."""

    async def gather(self, case: Case, stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """As `Check.report`. Whoever cancels it gets `Missing` for its facts instead."""
        ...


@runtime_checkable
class PromptCheck(WaitingCheck, Protocol):
    """A check that knows at once at times, or that keeps to a time of its own."""

    keeps_time: bool
    """Whether `gather` needs no deadline: it asks the store only, which has one."""

    def at_once(
        self, case: Case, stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value] | None:
        """Return what `gather` would, if nobody has to be asked for it; else None. Never raises."""
        ...


@runtime_checkable
class Witness(Protocol):
    """A check that has something to say in Authentication-Results (RFC 8601)."""

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Return what has been found out of a message already; asks nobody, never raises."""
        ...
