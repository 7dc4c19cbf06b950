"""A resolver whose zones are data (`ports.Resolver`); knows nothing of the network.

    FakeResolver({
        "example.org": {"A": "192.0.2.1", "MX": ["10 mx.example.org"], "TXT": ["v=spf1 mx -all"]},
        "www.example.org": {"CNAME": "example.org"},
    }, failing=["broken.example", "half.example TXT"], hanging=["slow.example"], secure=["example.org"])

A record is spelled as in `DnsAnswer.records`. A name with names below it exists, as in the DNS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from relay.errors import Unavailable
from relay.model import DnsAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FakeResolver", "Zones"]

Zones = Mapping[str, Mapping[str, str | Sequence[str]]]


class FakeResolver:
    """Answers from `zones` at once; `asked` remembers each question as (name, kind).

    `failing` and `hanging` are names, or "name KIND" for one type: they raise Unavailable, or never
    answer. All names at and below `secure` have authentic answers.
    """

    def __init__(
        self,
        zones: Zones | None = None,
        *,
        failing: Iterable[str] = (),
        hanging: Iterable[str] = (),
        secure: Iterable[str] = (),
    ) -> None:
        self.zones = {_canonical(name): dict(records) for name, records in (zones or {}).items()}
        self.failing = {_canonical(entry) for entry in failing}
        self.hanging = {_canonical(entry) for entry in hanging}
        self.secure = {_canonical(name) for name in secure}
        self.asked: list[tuple[str, str]] = []

    async def resolve(self, name: str, kind: str) -> DnsAnswer:
        """Answer from the zones, CNAMEs followed."""
        self.asked.append((name, kind))
        seen: set[str] = set()
        at = _canonical(name)
        is_authentic = True
        while at not in seen:
            seen.add(at)
            await self._stumble(at, kind)
            is_authentic = is_authentic and self._is_secure(at)
            records = self.zones.get(at)
            if records is None:
                return DnsAnswer((), self._has_names_below(at), is_authentic)
            if kind in records or "CNAME" not in records:
                found = records.get(kind, ())
                return DnsAnswer(_texts(found), is_authentic=is_authentic)
            at = _canonical(_texts(records["CNAME"])[0])
        raise Unavailable(f"{name}: CNAME loop")

    async def _stumble(self, name: str, kind: str) -> None:
        entries = {name, f"{name} {kind.lower()}"}
        if entries & self.failing:
            raise Unavailable(f"{name} {kind}: SERVFAIL")
        if entries & self.hanging:
            await asyncio.Event().wait()

    def _is_secure(self, name: str) -> bool:
        return any(name == zone or name.endswith(f".{zone}") for zone in self.secure)

    def _has_names_below(self, name: str) -> bool:
        return any(other.endswith(f".{name}") for other in self.zones)


def _canonical(name: str) -> str:
    return name.lower().removesuffix(".")


def _texts(records: str | Sequence[str]) -> tuple[str, ...]:
    return (records,) if isinstance(records, str) else tuple(records)
