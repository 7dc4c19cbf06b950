"""What is worth saying about policy files that compile: what stands in them and does nothing.

Given is the policy as it was compiled. Knows nothing of how limits are charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import catalogue
from relay.cli.finding import Finding
from relay.cli.policy_view import written_rules
from relay.policy_files import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.policy.engine import Engine
    from relay.policy.limits import Limit
    from relay.policy_files import Policies, Stack

__all__ = ["find_unasked"]


def find_unasked(policies: Policies) -> Iterator[Finding]:
    """Name the operator's limits that no rule of any listener asks for: they count nothing.

    Those of the defaults are not named: whoever switches off the rule to one knows why.
    """
    unasked: dict[str, Limit] = {}
    asked: set[str] = set()
    for (listener, addition), engine in policies.engines.items():
        places = _own_places(policies.stacks[listener] + addition, policies)
        for limit in (each for here in engine.limits.values() for each in here):
            place = places.get(limit.name)
            if place is not None and _is_asked(limit, engine):
                asked.add(place)
            elif place is not None:
                unasked[place] = limit
    for place, limit in unasked.items():
        if place not in asked:
            fact = next(name for name in _facts_of(limit) if name.endswith("exceeded"))
            yield Finding(
                "warning",
                place,
                f'limit "{limit.name}" counts nothing: no rule asks for {fact}',
                f'add a rule with at = "{limit.stage}" and when = "{fact}", or leave the limit out',
            )


def _own_places(stack: Stack, policies: Policies) -> dict[str, str]:
    """Where in a file of the operator's each limit begins."""
    found = {}
    for limit in written_rules(stack, policies.texts.__getitem__):
        own = [at for at in limit.places.values() if not at.startswith(f"{DEFAULTS}:")]
        if limit.kind == "limit" and own:
            found[limit.name] = own[0]
    return found


def _is_asked(limit: Limit, engine: Engine) -> bool:
    facts = _facts_of(limit)
    return any(facts & (rule.when.facts | rule.text_facts) for rule in engine.rules)


def _facts_of(limit: Limit) -> frozenset[str]:
    """The facts that all limits of its stage are asked for by."""
    return frozenset(
        name
        for name, fact in catalogue.facts().items()
        if name.startswith("rate.") and fact.stage is limit.stage
    )
