"""How much of their limits clients have used: charged when it is asked about, all limits of a stage together.

Which limits there are stands in policy files (`[[limit]]`, `policy/limits.py`); what follows from one that
is used up, a rule says. Nothing is given back: what is refused later has been tried all the same.
Knows nothing of how counters are kept (`policy/gcra.py`, `state`).
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from relay.model import Charge
from relay.policy.facts import Fact, FactType, Missing, Stage
from relay.policy.limits import UNKNOWN_TIER, Count
from relay.policy.prepaid import Account, most_in_advance
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.model import Tier
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value
    from relay.policy.limits import Limit
    from relay.ports import Clock, Store

__all__ = ["FACTS", "RateCheck", "Settings", "build", "foreseen", "limits_for"]

_WORDS: Final = {
    Stage.CONNECT: ("connect_", "connections, and what is asked for with them"),
    Stage.HELLO: ("hello_", "what the client has done before, now that it is known"),
    Stage.SENDER: ("", "messages"),
    Stage.RECIPIENT: ("recipient_", "recipients"),
    Stage.MESSAGE: ("message_", "the bytes of messages"),
}

NEVER: Final = -1
"""Seconds to wait for what will never be admitted."""


def _facts_of(stage: Stage, prefix: str, counted: str) -> tuple[Fact, ...]:
    return (
        Fact(
            f"rate.{prefix}exceeded",
            FactType.BOOL,
            stage,
            f"Whether a limit on {counted} is used up. If not, all of them have been charged.",
        ),
        Fact(f"rate.{prefix}limit", FactType.STRING, stage, 'Which one; "" for none.'),
        Fact(
            f"rate.{prefix}retry_after",
            FactType.INT,
            stage,
            "In how many seconds there is room again; 0 if there is, -1 for never: larger than the limit itself.",
        ),
    )


FACTS: Final = tuple(fact for stage, words in _WORDS.items() for fact in _facts_of(stage, *words))


class Settings(Table):
    """Limits: they stand in policy files, as `[[limit]]`."""


def build(_settings: Settings, tools: Tools) -> RateCheck:
    """Make the check."""
    return RateCheck(tools.store, tools.clock)


def limits_for(tier: Tier | None, limits: Mapping[Stage, tuple[Limit, ...]]) -> Iterator[Limit]:
    """Return the limits that there are for clients of a tier, None for those without an identity."""
    word = tier.value if tier else UNKNOWN_TIER
    for here in limits.values():
        yield from (limit for limit in here if limit.rates_for(word))


def foreseen(limits: Iterable[Limit]) -> dict[str, Value]:
    """What the check will say where there are no other limits: there is room at all other stages."""
    limited = {limit.stage for limit in limits}
    return {
        name: value
        for stage, room in _ROOM.items()
        if stage not in limited
        for name, value in room.items()
    }


class RateCheck:
    """Charges the limits of a stage, once (`policy.check.WaitingCheck`).

    Who sends much has units of large limits bought in advance (`policy/prepaid.py`): one call of the store
    for many messages.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._accounts: dict[tuple[Charge, ...], Account] = {}

    keeps_time = True

    def at_once(
        self, case: Case, stage: Stage, _wanted: frozenset[str]
    ) -> Mapping[str, Value] | None:
        """Report what has been found already, or that there is no limit for this client."""
        report = case.charged.get(stage)
        if report is not None:
            return report
        units = _units(case.limits.get(stage, ()), _tier(case), case.facts)
        if units is None:
            return None
        if units:
            account = self._accounts.get(units)
            if account is None or not account.take(self._clock.monotonic()):
                return None
        report = case.charged[stage] = _ROOM[stage]
        return report

    async def gather(
        self, case: Case, stage: Stage, _wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the limits of a stage; asked again, it says the same again."""
        report = case.charged.get(stage)
        if report is None:
            report = case.charged[stage] = await self._charge(case, stage)
        return report

    async def _charge(self, case: Case, stage: Stage) -> Mapping[str, Value]:
        tier, limits = _tier(case), case.limits.get(stage, ())
        now = self._clock.now().timestamp()
        first_met: list[str] = []
        owners: list[Limit] = []
        charges: list[Charge] = []
        for limit in limits:
            if not limit.rates_for(tier):
                continue
            subject = _subject(limit, case.facts)
            if type(subject) is Missing:
                return dict.fromkeys(_NAMES[stage], subject)
            if not subject:
                continue
            if limit.count is Count.NEW_RECIPIENTS:
                met = f"met/{limit.name}:{subject}|{_short(case.recipient)}"
                if await self._store.get(met, now) is not None:
                    continue
                first_met.append(met)
            own = _charges(limit, tier, subject)
            if not limit.is_plain:
                own = _with_cost(own, limit, case)
            charges += own
            owners += [limit] * len(own)
        if not charges:
            return _ROOM[stage]
        spend = self._buy if all(limit.is_one_each for limit in limits) else self._store.spend
        waits = await spend(tuple(charges), now)
        if wait := max(waits):
            return _exceeded(stage, owners[waits.index(wait)], wait)
        for met in first_met:
            await self._store.put(met, b"", now + _MET_SECONDS)
        case.settled.update(limit.name for limit in owners if _is_of_handshake(limit))
        return _ROOM[stage]

    async def _buy(self, charges: tuple[Charge, ...], now: float) -> Sequence[float]:
        """Charge one unit of each, and buy more in advance for who comes often."""
        most = most_in_advance(charges)
        if most < 2:
            return await self._store.spend(charges, now)
        account = self._accounts.get(charges)
        if account is None:
            if len(self._accounts) >= _MAX_ACCOUNTS:
                self._accounts.clear()
            account = self._accounts[charges] = Account()
        units = account.order(most, self._clock.monotonic())
        if units > 1:
            account.is_buying = True
            try:
                waits = await self._store.spend(_times(charges, units), now)
            finally:
                account.is_buying = False
            if not any(waits):
                account.left += units - 1
                return waits
        return await self._store.spend(charges, now)  # the last ones are bought one by one


_MAX_ACCOUNTS: Final = 4_096


def _tier(case: Case) -> str:
    return case.identity.tier if case.identity else UNKNOWN_TIER


@lru_cache(maxsize=4096)
def _charges(limit: Limit, tier: str, subject: str) -> tuple[Charge, ...]:
    """One unit of each window."""
    return tuple(
        Charge(f"{limit.name}/{rate.period:g}:{subject}", 1, rate.limit, rate.period)
        for rate in limit.rates_for(tier)
    )


@lru_cache(maxsize=4096)
def _times(charges: tuple[Charge, ...], units: int) -> tuple[Charge, ...]:
    return tuple(charge._replace(cost=units) for charge in charges)


def _units(
    limits: tuple[Limit, ...], tier: str, facts: Mapping[str, Value]
) -> tuple[Charge, ...] | None:
    """One unit of each limit; None if that is not what it is about, or not known yet."""
    charges: tuple[Charge, ...] = ()
    for limit in limits:
        if not limit.rates_for(tier):
            continue
        if not limit.is_one_each:
            return None
        subject = _subject(limit, facts)
        if type(subject) is Missing:
            return None
        if subject:
            charges += _charges(limit, tier, subject)
    return charges


def _with_cost(charges: tuple[Charge, ...], limit: Limit, case: Case) -> tuple[Charge, ...]:
    """What is charged where it is not one unit: as many bytes as there are, or what was charged before."""
    if limit.count is Count.BYTES:
        return tuple(charge._replace(cost=len(case.message)) for charge in charges)
    if _is_of_handshake(limit):
        return () if limit.name in case.settled else charges
    case.noted.update((charge.key, (limit.count, charge)) for charge in charges)
    return tuple(charge._replace(cost=0) for charge in charges)


def _is_of_handshake(limit: Limit) -> bool:
    """Whether it is charged for a handshake that has happened: its client is known by now."""
    return limit.count is Count.HANDSHAKES and limit.stage is not Stage.CONNECT


_NAMES: Final = {
    stage: tuple(f"rate.{prefix}{word}" for word in ("exceeded", "limit", "retry_after"))
    for stage, (prefix, _) in _WORDS.items()
}
_ROOM: Final[Mapping[Stage, Mapping[str, Value]]] = {
    stage: dict(zip(names, (False, "", 0), strict=True)) for stage, names in _NAMES.items()
}


def _exceeded(stage: Stage, limit: Limit, wait: float) -> Mapping[str, Value]:
    retry_after = NEVER if math.isinf(wait) else math.ceil(wait)
    return dict(zip(_NAMES[stage], (True, limit.name, retry_after), strict=True))


_LONGEST: Final = 64
_MET_SECONDS: Final = 30 * 86_400.0
"""How long a recipient is not a new one."""


def _subject(limit: Limit, facts: Mapping[str, Value]) -> str | Missing:
    """Return whose counter it is; "" if it is nobody's."""
    parts: list[str] = []
    for name in limit.key:
        value = facts[name]
        if type(value) is Missing:
            return value
        parts.append(_short(value) if value else "")
    return "|".join(parts) if all(parts) else ""


def _short(value: object) -> str:
    """A value as a part of a key: clients may send long ones, and ones with our separator."""
    text = str(value)
    if len(text) <= _LONGEST and "|" not in text:
        return text
    return sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
