"""The store of a fleet: a Valkey or Redis that all nodes share. Implements `ports.Store`.

What must be done in one go is a Lua script. A script may touch keys of one slot only where the server
is a Cluster, so charges of several slots are made side by side, and taken back if one of them was
refused: never more than the limit passes, and for a moment it may be less. Arithmetic stands in
`scripts/`; whether there is a server, and what happens while there is none, in `redis_link.py`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from relay.model import Restriction, RestrictionKind
from relay.policy.decay import NEGLIGIBLE, Sum
from relay.state.polling import another_version
from relay.state.redis_clients import make_clients
from relay.state.redis_link import Link, Script

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from relay.model import Charge, Score
    from relay.settings.state import State

__all__ = ["RedisStore", "open_redis"]

_MARGIN_SECONDS: Final = 60
"""How much longer than needed a key is kept, for nodes whose clocks differ."""
_LOOK_SECONDS: Final = 0.5
"""How often `changed` looks, should a notification be lost."""
_LISTED_AT_ONCE: Final = 500
_SPEND, _REFUND = Script("spend"), Script("refund")
_ADD_SCORES, _RESTRICT = Script("add_scores"), Script("restrict")


def open_redis(state: State) -> RedisStore:
    """Make the store; nothing is connected before it is asked.

    Raises:
        ConfigurationError: a file that the settings name can't be read.
    """
    return RedisStore(Link(make_clients(state), state.timeout.total_seconds()), state.prefix)


class RedisStore:
    """Implements `ports.Store`.

    Args:
        link: to the server.
        prefix: what the names of all keys begin with.
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._rate = f"{prefix}rate:"
        self._score = f"{prefix}score:"
        self._value = f"{prefix}value:"
        # The braces keep both in one slot of a Cluster, for the script that changes both.
        self._restrictions = f"{prefix}{{restrictions}}"
        self._version = f"{prefix}{{restrictions}}:version"
        self._channel = f"{prefix}restrictions"
        self._known: dict[tuple[bytes, bytes], Restriction] = {}

    # --- rates and reputation ---------------------------------------------------------------

    async def spend(self, charges: Sequence[Charge], now: float) -> Sequence[float]:
        """Charge rate limits; see `ports.Store`."""
        keys = [self._rate + charge.key for charge in charges]
        groups = self._link.by_slot(keys)
        if not charges:
            return []
        if len(groups) == 1:
            return await self._spend(keys, charges, now)
        answers = await asyncio.gather(
            *(
                self._spend([keys[i] for i in group], [charges[i] for i in group], now)
                for group in groups
            )
        )
        waits = [0.0] * len(charges)
        for group, answer in zip(groups, answers, strict=True):
            for index, wait in zip(group, answer, strict=True):
                waits[index] = wait
        if any(waits):
            await self._refund(
                [group for group, answer in zip(groups, answers, strict=True) if not any(answer)],
                keys,
                charges,
            )
        return waits

    async def _spend(
        self, keys: Sequence[str], charges: Sequence[Charge], now: float
    ) -> list[float]:
        numbers = [number for charge in charges for number in charge[1:]]
        answer = await self._link.run(_SPEND, keys, now, _MARGIN_SECONDS, *numbers)
        return [float(wait) for wait in answer]

    async def _refund(
        self, groups: Sequence[Sequence[int]], keys: Sequence[str], charges: Sequence[Charge]
    ) -> None:
        await asyncio.gather(
            *(
                self._link.run(
                    _REFUND,
                    [keys[i] for i in group],
                    *(number for i in group for number in charges[i][1:]),
                )
                for group in groups
            )
        )

    async def add_scores(self, scores: Sequence[Score], now: float) -> None:
        """Add to decaying sums."""
        if not scores:
            return
        keys = [self._score + score.subject for score in scores]
        await asyncio.gather(
            *(
                self._link.run(
                    _ADD_SCORES,
                    [keys[i] for i in group],
                    now,
                    _MARGIN_SECONDS,
                    NEGLIGIBLE,
                    *(number for i in group for number in scores[i][1:]),
                )
                for group in self._link.by_slot(keys)
            )
        )

    async def scores(self, subjects: Sequence[str], now: float) -> Sequence[float]:
        """Return decayed sums."""
        if not subjects:
            return []
        kept = await self._link.read([self._score + subject for subject in subjects])
        return [_parse_sum(each).value_at(now) if each else 0.0 for each in kept]

    # --- restrictions -----------------------------------------------------------------------

    async def restrict(self, *restrictions: Restriction) -> None:
        """Put restrictions in force."""
        keys = [self._restrictions, self._version]
        pairs = [
            text
            for each in restrictions
            for text in (
                _field(each.kind, each.subject),
                orjson.dumps([each.reason, each.by, each.since, each.until, each.times]),
            )
        ]
        await self._link.run(_RESTRICT, keys, self._channel, *pairs)

    async def lift(self, kind: RestrictionKind, subject: str) -> bool:
        """Take a restriction back."""
        field = _field(kind, subject)
        value = await self._link.command("HGET", self._restrictions, field)
        now = time.time()
        held = _parse_restriction(field, value) if value else None
        if held is None or not held.is_in_force(now):
            return False
        await self.restrict(held.lifted(now))
        return True

    async def restrictions(self) -> Sequence[Restriction]:
        """Return all that are in force or remembered."""
        known, self._known = self._known, {}
        forgotten, now, cursor = [], time.time(), 0
        while True:
            cursor, fields = await self._link.command(
                "HSCAN", self._restrictions, cursor, "COUNT", _LISTED_AT_ONCE
            )
            for field, value in _pairs(fields):
                # What has not changed need not be read again: there may be very many.
                found = known.get((field, value)) or _parse_restriction(field, value)
                if found.remembered_until is None or now < found.remembered_until:
                    self._known[field, value] = found
                else:
                    forgotten.append(field)
            if not (cursor := int(cursor)):
                break
        if forgotten:
            await self._link.command("HDEL", self._restrictions, *forgotten[:_LISTED_AT_ONCE])
        return tuple(self._known.values())

    async def version(self) -> int:
        """Return the version of the restrictions."""
        return int((await self._link.read([self._version]))[0] or 0)

    async def changed(self, known: int, timeout: timedelta) -> int:
        """Wait for another version than `known`."""
        return await another_version(
            known,
            timeout,
            look=self.version,
            wait=lambda left: self._link.listen(self._channel, min(left, _LOOK_SECONDS)),
        )

    # --- values -----------------------------------------------------------------------------

    async def get(self, key: str, now: float) -> bytes | None:
        """Return what was put under a key."""
        (kept,) = await self._link.read([self._value + key])
        until, _, value = (kept or b"0 ").partition(b" ")
        return value if now < float(until) else None

    async def put(self, key: str, value: bytes, until: float) -> None:
        """Keep a value until a moment."""
        moment = int((until + _MARGIN_SECONDS) * 1000)
        kept = b"%r %b" % (until, value)
        await self._link.command("SET", self._value + key, kept, "PXAT", moment)

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()


def _parse_sum(text: bytes) -> Sum:
    value, at, half_life = text.split(b" ")
    return Sum(float(value), float(at), float(half_life))


def _field(kind: RestrictionKind, subject: str) -> bytes:
    return f"{kind} {subject}".encode()


def _parse_restriction(field: bytes, value: bytes) -> Restriction:
    kind, _, subject = field.decode().partition(" ")
    return Restriction(RestrictionKind(kind), subject, *orjson.loads(value))


def _pairs(fields: Any) -> Sequence[tuple[bytes, bytes]]:
    """The fields of HSCAN's answer: a flat list, or a map where the protocol has maps (RESP3)."""
    if isinstance(fields, dict):
        return list(fields.items())
    return list(zip(fields[::2], fields[1::2], strict=True))
