"""Limits on how much in how much time: `[[limit]]` of a policy file, checked and made ready.

What is counted when, by which facts, and how much of it for whom. Knows no store and no rule: what
follows from a limit that is used up, a rule says (`rate.exceeded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.policy.compiler import RuleMistake
from relay.policy.facts import FactType, Stage, why_unknown
from relay.settings.values import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.facts import Fact
    from relay.policy.tables import LimitTable

__all__ = ["UNKNOWN_TIER", "Count", "Limit", "Rate", "compile_limit", "parse_rate"]

UNKNOWN_TIER: Final = "unknown"
"""Stands for clients without an identity where limits go by tier."""

_STAGES: Final = tuple(Stage)
_PREFIX: Final = "rate."


class Count(StrEnum):
    """What a limit counts."""

    CONNECTIONS = "connections"
    HANDSHAKES = "handshakes"
    REJECTED_COMMANDS = "rejected_commands"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    NEW_RECIPIENTS = "new_recipients"
    BYTES = "bytes"

    @property
    def stage(self) -> Stage:
        """When it is charged; of what is counted when it happens, when it is asked for at the earliest."""
        return _COUNTED_AT[self]

    @property
    def is_noted(self) -> bool:
        """Whether it is counted when it happens, and only what comes next is held to the limit."""
        return self in {Count.HANDSHAKES, Count.REJECTED_COMMANDS}


_COUNTED_AT: Final = {
    Count.CONNECTIONS: Stage.CONNECT,
    Count.HANDSHAKES: Stage.CONNECT,
    Count.REJECTED_COMMANDS: Stage.CONNECT,
    Count.MESSAGES: Stage.SENDER,
    Count.RECIPIENTS: Stage.RECIPIENT,
    Count.NEW_RECIPIENTS: Stage.RECIPIENT,
    Count.BYTES: Stage.MESSAGE,
}


_NOT_PLAIN: Final = frozenset({Count.HANDSHAKES, Count.REJECTED_COMMANDS, Count.BYTES})
_ONE_EACH: Final = frozenset(Count) - _NOT_PLAIN - {Count.NEW_RECIPIENTS}


class Rate(NamedTuple):
    """So many in so many seconds: that many may come at once, and then evenly."""

    limit: int
    period: float


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One limit. `key` are facts; `tiers` are the rates for some tiers, `rates` those for all others."""

    name: str
    count: Count
    stage: Stage
    key: tuple[str, ...]
    rates: tuple[Rate, ...]
    tiers: Mapping[str, tuple[Rate, ...]]

    @property
    def is_plain(self) -> bool:
        """Whether it counts one each time that it is asked for."""
        return self.count not in _NOT_PLAIN

    @property
    def is_one_each(self) -> bool:
        """Whether that is known without asking what was counted before."""
        return self.count in _ONE_EACH

    def rates_for(self, tier: str) -> tuple[Rate, ...]:
        """Return what holds for clients of a tier; nothing: they are not limited."""
        return self.tiers.get(tier, self.rates)


def parse_rate(value: object) -> Rate:
    """Read "100/1h", "1000/1d", "50MB/1h".

    Raises:
        ValueError: it is none; the text says how to write it.
    """
    amount, _, period = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        limit = parse_size(int(amount) if amount.strip().isdecimal() else amount.strip())
        seconds = parse_duration(period.strip()).total_seconds()
    except ValueError:
        limit = seconds = 0
    if not limit or not seconds:
        raise ValueError(f'{value!r} is no rate; write it as "100/1h", "1000/1d" or "50MB/1h"')
    return Rate(limit, seconds)


def compile_limit(table: LimitTable, facts: Mapping[str, Fact]) -> Limit:
    """Check one limit and make it ready.

    Raises:
        RuleMistake: what is wrong with it.
    """
    stage = table.count.stage
    for name in table.key:
        known = _stage_of_key(name, facts)
        if _STAGES.index(known) > _STAGES.index(stage):
            if not table.count.is_noted:
                raise RuleMistake(
                    "key",
                    f"`{name}` is not known yet when {table.count.value} are counted, at {stage}",
                    f"count what comes at {known} or later, or leave it out",
                )
            stage = known
    for name in table.key:
        if problem := why_unknown(name, facts[name].stage, stage):
            raise RuleMistake("key", problem, "leave it out")
    if not table.rate and not table.tier:
        raise RuleMistake("name", "there is no `rate`", 'add `rate = ["100/1h"]`')
    if table.tier and stage is Stage.CONNECT:
        raise RuleMistake(
            "tier", f"at {stage} nobody's tier is known yet", "use `rate`, or another `count`"
        )
    tiers = {str(tier): rates for tier, rates in table.tier.items()}
    return Limit(table.name, table.count, stage, table.key, table.rate, MappingProxyType(tiers))


def _stage_of_key(name: str, facts: Mapping[str, Fact]) -> Stage:
    fact = facts.get(name)
    if fact is None:
        raise RuleMistake("key", f"unknown fact `{name}`", "see docs/facts.md for what there is")
    if fact.type is not FactType.STRING or name.startswith(_PREFIX):
        raise RuleMistake(
            "key",
            f"`{name}` says nothing about who or what is counted",
            "use facts that are text, as identity.name or peer.network",
        )
    return fact.stage
