"""A case in, verdict out: the rules of a stage are asked in order, the first broken one decides.

Pure. Knows nothing of sessions and replies beyond what a rule gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.policy.facts import Stage
from relay.policy.verdict import COMPLIANT, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.policy.case import Case
    from relay.policy.rules import Rule

__all__ = ["Engine"]


class Engine:
    """A set of rules, sorted by stage once, asked for each command."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[Stage, tuple[Rule, ...]] = dict.fromkeys(Stage, ())
        for rule in rules:
            self._rules[rule.at] += (rule,)

    def judge(self, stage: Stage, case: Case) -> Verdict:
        """Return the verdict on `case` at `stage`."""
        for rule in self._rules[stage]:
            if rule.is_broken(case):
                return Verdict(rule.name, rule.reply(case))
        return COMPLIANT
