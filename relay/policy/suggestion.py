"""Limits that fit past mail: what clients of each tier have sent in an hour and in a day, with headroom.

Counts and proposes; where the mail is on record, and which limits there are, it does not know.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.model import Charge
from relay.policy.gcra import settle
from relay.policy.limits import Count, Rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["COUNTED", "PERIODS", "Sent", "Suggestion", "Traffic", "would_wait"]

PERIODS: Final = (3600.0, 86_400.0)
"""An hour and a day."""

COUNTED: Final = (Count.MESSAGES, Count.RECIPIENTS, Count.BYTES)

_LEAST: Final[Mapping[Count, int]] = {
    Count.MESSAGES: 10,
    Count.RECIPIENTS: 20,
    Count.BYTES: 10_000_000,
}
"""Less is no help: a few messages more must not be an event."""


class Sent(NamedTuple):
    """One message of the past: when, by whom (an identity or a network), of which tier, and how much."""

    at: float
    who: str
    tier: str
    recipients: int
    size_bytes: int

    def amount(self, count: Count) -> int:
        """How much of what is counted it is."""
        if count is Count.MESSAGES:
            return 1
        return self.recipients if count is Count.RECIPIENTS else self.size_bytes


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The rates for one tier, and what they rest on: the busiest hour and day of one client."""

    count: Count
    tier: str
    rates: tuple[Rate, ...]
    busiest: tuple[int, ...]
    clients: int


class Traffic:
    """What was sent, hour by hour and day by day."""

    def __init__(self) -> None:
        self.messages = 0
        self._clients: defaultdict[str, set[str]] = defaultdict(set)
        # (tier, period) -> (who, which period) -> how much, for each of COUNTED
        self._windows: dict[tuple[Count, str, float], Counter[tuple[str, int]]] = defaultdict(
            Counter
        )

    def add(self, sent: Sent) -> None:
        """Count one message."""
        self.messages += 1
        self._clients[sent.tier].add(sent.who)
        for count in COUNTED:
            amount = sent.amount(count)
            for period in PERIODS:
                self._windows[count, sent.tier, period][sent.who, int(sent.at // period)] += amount

    def suggest(self, percentile: float, headroom: float) -> Iterator[Suggestion]:
        """Propose rates for each tier that was met.

        Args:
            percentile: how many of the hours and days, of 100, must fit before there is headroom.
            headroom: how many times that is allowed.
        """
        for count in COUNTED:
            for tier in sorted(self._clients):
                windows = [sorted(self._windows[count, tier, each].values()) for each in PERIODS]
                rates = tuple(
                    Rate(
                        _rounded_up(max(_percentile(each, percentile) * headroom, _LEAST[count])),
                        period,
                    )
                    for each, period in zip(windows, PERIODS, strict=True)
                )
                busiest = tuple(each[-1] for each in windows)
                yield Suggestion(count, tier, rates, busiest, len(self._clients[tier]))


def would_wait(
    past: Iterable[Sent], rates: Mapping[tuple[Count, str], tuple[Rate, ...]]
) -> Counter[tuple[Count, str]]:
    """Return how many messages of the past would have been told to come again.

    Args:
        past: the messages, the oldest first.
        rates: the limits, by what is counted and tier.
    """
    arrivals: dict[tuple[Count, str, float], float] = {}
    waiting: Counter[tuple[Count, str]] = Counter()
    for sent in past:
        for count in COUNTED:
            after: dict[tuple[Count, str, float], float] = {}
            is_late = False
            for limit, period in rates.get((count, sent.tier), ()):
                key = (count, sent.who, period)
                charge = Charge("", sent.amount(count), limit, period)
                after[key], wait = settle(arrivals.get(key, 0.0), charge, sent.at)
                is_late |= wait > 0
            if is_late:
                waiting[count, sent.tier] += 1
            else:
                arrivals |= after
    return waiting


def _percentile(ordered: list[int], percentile: float) -> int:
    """The nearest rank: the least value that so many of them don't exceed."""
    rank = -(-len(ordered) * percentile // 100)
    return ordered[max(int(rank), 1) - 1]


def _rounded_up(value: float) -> int:
    """A number with two digits that say something: people read it."""
    whole = -int(-value // 1)
    step: int = 10 ** max(len(str(whole)) - 2, 0)
    return -(-whole // step) * step
