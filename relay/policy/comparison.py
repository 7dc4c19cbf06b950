"""What differs between two decisions on each of many cases, summed up by rule, identity and sender.

Counts and keeps an example of each; knows neither files nor how decisions are made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from relay.policy.recollection import Decision, Past
    from relay.policy.replay import Again

__all__ = ["Comparison", "Difference", "Effect"]


class Effect(StrEnum):
    """What a difference means for who sends."""

    BREAKS = "breaks"
    """What passed is refused."""
    PASSES = "passes"
    """What was refused passes."""
    OTHERWISE = "otherwise"
    """Refused in both cases, by another rule or with another code."""


class Difference(NamedTuple):
    """Cases that differ in the same way: who sent them, and which rules refuse before and after."""

    effect: Effect
    identity: str
    sender: str | None
    before: str
    after: str
    code: int


@dataclass
class Comparison:
    """Cases that were decided twice, counted.

    Attributes:
        same: how many have the same decision.
        differences: how often which difference.
        examples: the reference of the last case of each.
        undecided: how often there was no decision, by the facts that no record holds.
        unknown: how often rules in shadow mode or tags asked what no record holds, by fact.
        shadow: how often a rule in shadow mode would have had a say, by its name: before and after.
    """

    same: int = 0
    differences: Counter[Difference] = field(default_factory=Counter)
    examples: dict[Difference, str] = field(default_factory=dict)
    undecided: Counter[tuple[str, ...]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    shadow_before: Counter[str] = field(default_factory=Counter)
    shadow_after: Counter[str] = field(default_factory=Counter)

    def add(self, past: Past, before: Again, after: Again) -> None:
        """Count a case."""
        if before.decision is None or after.decision is None:
            self.undecided[tuple(sorted(before.unknown | after.unknown))] += 1
            return
        self.unknown.update(before.unknown | after.unknown)
        self.shadow_before.update(before.decision.shadow)
        self.shadow_after.update(after.decision.shadow)
        if before.decision.is_same_as(after.decision):
            self.same += 1
            return
        difference = _difference(past, before.decision, after.decision)
        self.differences[difference] += 1
        self.examples[difference] = past.reference

    @property
    def total(self) -> int:
        """How many cases there were."""
        return self.same + self.differences.total() + self.undecided.total()

    def senders(self, effect: Effect) -> int:
        """Return how many senders have cases with an effect: identities, and addresses of strangers."""
        return len(
            {
                each.identity or f"<{each.sender or ''}>"
                for each in self.differences
                if each.effect is effect
            }
        )


def _difference(past: Past, before: Decision, after: Decision) -> Difference:
    effect = Effect.OTHERWISE
    if not before.rule:
        effect = Effect.BREAKS
    elif not after.rule:
        effect = Effect.PASSES
    return Difference(effect, past.identity, past.sender, before.rule, after.rule, after.code)
