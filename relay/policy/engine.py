"""Facts in, verdict out: the rules of a stage are asked in order, the first broken one decides.

Pure. Knows nothing of sessions and replies beyond what a rule gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.policy.facts import Facts, Stage
from relay.policy.verdict import COMPLIANT, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.policy.rules import Rule

__all__ = ["Engine"]


class Engine:
    """A set of rules, sorted by stage once, asked for each command."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[Stage, tuple[Rule, ...]] = dict.fromkeys(Stage, ())
        for rule in rules:
            self._rules[rule.at] += (rule,)

    def judge(self, stage: Stage, facts: Facts) -> Verdict:
        """Return the verdict on `facts` at `stage`."""
        for rule in self._rules[stage]:
            if rule.is_broken(facts):
                return Verdict(rule.name, rule.reply(facts))
        return COMPLIANT
