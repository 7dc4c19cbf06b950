"""The policy as a worker has it in force: rules that can be swapped, checks, whom it may touch.

Joins what `policy` and `checks` are with the settings. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from relay import catalogue
from relay.checks import identity as identity_check
from relay.checks import rate
from relay.errors import Unavailable
from relay.inbound.authentication_results import AuthenticationResults
from relay.inbound.judging import Panel
from relay.policy.check import PromptCheck, WaitingCheck, Witness
from relay.policy.consequences import Consequences
from relay.policy.ledger import BestTls, Event, Ledger, SubjectKind
from relay.settings.values import parse_endpoint, parse_network

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from ipaddress import IPv4Address, IPv6Address

    from relay.checks.reputation import Settings as Reputation
    from relay.model import Identity, Network, Tier
    from relay.policy.check import Tools
    from relay.policy.engine import Engine
    from relay.policy.restrictions import Restrictions
    from relay.policy_files import Policies, Stack
    from relay.ports import Clock, Outbox, Store
    from relay.settings import Settings
    from relay.settings.policy import Checks

__all__ = [
    "LivePolicies",
    "make_authentication_results",
    "make_consequences",
    "make_ledger",
    "make_panel",
    "offload",
]

_T = TypeVar("_T")

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class LivePolicies:
    """Implements `ports.Policies`; the rules can be swapped under way."""

    def __init__(self, policies: Policies) -> None:
        self._engines: Mapping[tuple[str, Stack], Engine] = {}
        self._by_tier: dict[tuple[str, Stack, Tier | None], Engine] = {}
        self.replace(policies)

    def replace(self, policies: Policies) -> None:
        """Put other rules in force, for live sessions from their next command on."""
        self.stacks = policies.stacks
        self._previous, self._engines = self._engines, policies.engines
        self._by_tier.clear()

    def engine(self, listener: str, identity: Identity | None) -> Engine:
        """Return the rules for a listener's clients, with those of an identity over them.

        Raises:
            Unavailable: the identity's rules are not there yet.
        """
        key = (
            (listener, (), None) if identity is None else (listener, identity.policy, identity.tier)
        )
        engine = self._by_tier.get(key)
        if engine is None:
            engine = self._by_tier[key] = self._narrowed(*key)
        return engine

    def _narrowed(self, listener: str, additions: Stack, tier: Tier | None) -> Engine:
        # Rules come before the allowlist that names them, and go before the one that did.
        key = (listener, additions)
        engine = self._engines.get(key) or self._previous.get(key)
        if engine is None:
            raise Unavailable(f"policy {key} is not loaded")
        return _for_tier(engine, tier)


def _for_tier(engine: Engine, tier: Tier | None) -> Engine:
    """What holds for clients of a tier: most rules are about strangers, or about limits that they don't have."""
    limits = tuple(rate.limits_for(tier, engine.limits))
    return engine.given(identity_check.foreseen(tier) | rate.foreseen(limits), limits)


def make_panel(settings: Checks, tools: Tools) -> Panel:
    """Make all checks."""
    checks = catalogue.build_checks(settings, tools)
    waiting = {name: each for name, each in checks.items() if isinstance(each, WaitingCheck)}
    return Panel(
        facts=catalogue.facts(),
        ready={name: each for name, each in checks.items() if not isinstance(each, WaitingCheck)},
        waiting=waiting,
        timeouts={
            name: getattr(getattr(settings, name), "timeout", None) or settings.timeout
            for name, check in waiting.items()
            if not (isinstance(check, PromptCheck) and check.keeps_time)
        },
        prompt={name: each for name, each in waiting.items() if isinstance(each, PromptCheck)},
    )


def make_authentication_results(settings: Settings, panel: Panel) -> AuthenticationResults:
    """Say under which name checks tell what they have found out."""
    table = settings.authentication_results
    name = table.authserv_id or settings.hostname
    return AuthenticationResults(
        name if table.enabled else "",
        (name, settings.hostname, *table.own_ids),
        [
            check
            for check in (*panel.ready.values(), *panel.waiting.values())
            if isinstance(check, Witness)
        ],
    )


def make_consequences(
    settings: Settings,
    restrictions: Restrictions,
    own: Iterable[IPv4Address | IPv6Address] = (),
) -> Consequences:
    """Say whom the policy may touch; `own` are this machine's addresses, whatever listeners are on."""
    exempt = (*_exempt(settings), *(parse_network(str(each)) for each in own))
    return Consequences(restrictions, exempt, settings.policy.max_duration)


def make_ledger(
    settings: Checks, consequences: Consequences, store: Store, outbox: Outbox, clock: Clock
) -> Ledger:
    """Say what counts how much against whom."""
    table: Reputation = getattr(settings, "reputation")  # noqa: B009  the catalogue adds it
    half_life = table.half_life
    return Ledger(
        weights={event: getattr(table.weights, event) for event in Event},
        half_lives={kind: getattr(half_life, kind).total_seconds() for kind in SubjectKind},
        is_exempt=consequences.is_exempt,
        outbox=outbox,
        best=BestTls(store, outbox, clock),
    )


def _exempt(settings: Settings) -> Iterator[Network]:
    """Whom no rule may ban: those named, our load balancers, ourselves."""
    yield from map(parse_network, _LOOPBACK)
    yield from settings.policy.exempt
    for listener in settings.listener:
        yield from listener.proxy_protocol_from
        if not listener.address.startswith("unix:"):
            address = parse_endpoint(listener.address).ip
            if address is not None and not address.is_unspecified:
                yield parse_network(str(address))


def offload(work: Callable[[], _T]) -> Awaitable[_T]:
    """Run what would hold the event loop up in a thread (see `policy.check.Offload`)."""
    return asyncio.to_thread(work)
