"""Decisions of the past made again, by the rules of then or by others.

The stages of a case are judged in their order, the first refusal decides. What a rule asks and no record
holds is not guessed: where the decision hangs on it, there is none. Rules in shadow mode and tags don't
decide; where only those ask what is not known, the decision stands. Knows no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from relay.policy.engine import NOTHING, UNAVAILABLE
from relay.policy.facts import Stage
from relay.policy.recollection import Decision
from relay.policy.rules import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.policy.engine import Engine, Outcome
    from relay.policy.facts import Facts
    from relay.policy.recollection import Past
    from relay.policy.rules import Rule

__all__ = ["Again", "Replay"]


class Again(NamedTuple):
    """A decision made again; None if it hangs on what is not known.

    `unknown` are the facts that some rule asks and no record holds: those in shadow mode and tags too.
    """

    decision: Decision | None
    unknown: frozenset[str] = frozenset()


class Replay:
    """One policy, asked about the past. The same facts have the same decision, and it is remembered.

    Args:
        engine_for: the rules of a listener, with those of an identity over them; the identity is ""
            before it is known. None for a listener that is not there any more.
    """

    def __init__(self, engine_for: Callable[[str, str], Engine | None]) -> None:
        self._engine_for = engine_for
        self._reduced: dict[Engine, tuple[Engine, ...]] = {}

    def decide(self, past: Past) -> Again:
        """Make the decision on a case again."""
        shadow: set[str] = set()
        unknown: frozenset[str] = frozenset()
        for stage, facts in past.stages:
            identity = "" if stage is Stage.CONNECT else past.identity
            engine = self._engine_for(past.listener, identity)
            if engine is None:
                return Again(None)
            outcome, lacking = self._judge(engine, stage, facts)
            unknown |= lacking
            if outcome is None:
                return Again(None, unknown)
            if outcome.decided is not None:
                return Again(_decision(outcome), unknown)
            shadow.update(outcome.shadow)
        return Again(Decision(shadow=frozenset(shadow)), unknown)

    def _judge(
        self, engine: Engine, stage: Stage, facts: Facts
    ) -> tuple[Outcome | None, frozenset[str]]:
        """The outcome of a stage, and the facts that were asked and are not known."""
        lacking: frozenset[str] = frozenset()
        for each in self._from_all_to_few(engine):
            plan = each.plans[stage]
            outcome = NOTHING if plan is None else plan.judge(facts)
            if not outcome.pending:
                return outcome, lacking
            lacking = lacking.union(*(need.facts for need in outcome.pending))
        return None, lacking

    def _from_all_to_few(self, engine: Engine) -> tuple[Engine, ...]:
        found = self._reduced.get(engine)
        if found is None:
            found = (engine, engine.only(_is_enforced), engine.only(_decides))
            self._reduced[engine] = found
        return found


_UNAVAILABLE_CODE: Final = UNAVAILABLE.code


def _is_enforced(rule: Rule) -> bool:
    return not rule.is_shadow


def _decides(rule: Rule) -> bool:
    return _is_enforced(rule) and rule.then is not Action.TAG


def _decision(outcome: Outcome) -> Decision:
    rule = outcome.decided
    assert rule is not None
    code = rule.reply.code if rule.reply and not outcome.has_failed else _UNAVAILABLE_CODE
    return Decision(rule.name, code, frozenset(outcome.shadow))
