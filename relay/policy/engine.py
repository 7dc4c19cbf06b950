"""Facts in, verdict out: the rules of a stage are asked in order, the first broken one decides.

Pure, and so remembered: the same facts at the same stage have the same outcome, and a connection
that sends one message after the other costs a look-up for each. Nobody is asked for a fact unless a condition
depends on it (`false && unknown` is false), nor for one that only stands in texts (replies, tags) unless
the rule holds. Knows nothing of sessions and checks.
"""

from __future__ import annotations

from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from relay.policy.facts import Fact, Facts, Missing, Stage
from relay.policy.rules import Action, OnError, Rule
from relay.policy.verdict import COMPLIANT, Sanction, Verdict
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay.policy.expressions import Language
    from relay.policy.facts import Value
    from relay.policy.limits import Limit

__all__ = [
    "NOTHING",
    "UNAVAILABLE",
    "Engine",
    "Need",
    "Outcome",
    "Plan",
    "needs_of",
    "put_into_words",
]

_T = TypeVar("_T")

UNAVAILABLE: Final = Reply(451, "4.3.0", ("This can't be checked now, try again later",))
"""The answer if a rule can't be evaluated: never "passed"."""

_NOT_FOUND_OUT: Final = Missing("not found out")
_NOTHING_GIVEN: Final[Mapping[str, Value]] = MappingProxyType({})
_STAGES: Final = tuple(Stage)
_LIMITED: Final = "rate."
_MAX_REMEMBERED: Final = 1024
_JOINED_RULES: Final = 32
"""How many conditions are asked at once: CEL limits how deep an expression may be nested."""
_MAX_REMEMBERED_CHARACTERS: Final = 2_000


class Need(NamedTuple):
    """Facts to be asked of one check: its prefix, and the stage that they are about."""

    prefix: str
    stage: Stage
    facts: frozenset[str]


class _Answer(NamedTuple):
    """Whether a condition holds; None if that can't be said."""

    holds: bool | None


class Outcome(NamedTuple):
    """Which rules have a say: `decided` refuses, or None; `has_failed` if it could not be evaluated.

    While something is `pending`, there is no outcome yet: it depends on that. What is known earlier
    stands first.
    """

    decided: Rule | None = None
    has_failed: bool = False
    tags: tuple[Rule, ...] = ()
    shadow: tuple[str, ...] = ()
    pending: tuple[Need, ...] = ()

    @property
    def text_facts(self) -> frozenset[str]:
        """The facts in the texts of those rules."""
        rules = self.tags if self.decided is None or self.has_failed else (*self.tags, self.decided)
        return frozenset[str]().union(*(rule.text_facts for rule in rules))


NOTHING: Final = Outcome()
"""No rule has a say."""


def needs_of(names: Iterable[str], facts: Mapping[str, Fact]) -> tuple[Need, ...]:
    """Sort facts by the stage that they are about, and who knows them."""
    grouped: dict[tuple[str, Stage], set[str]] = {}
    for name in sorted(names, key=lambda name: (_STAGES.index(facts[name].stage), name)):
        grouped.setdefault((name.partition(".")[0], facts[name].stage), set()).add(name)
    return tuple(Need(prefix, stage, frozenset(each)) for (prefix, stage), each in grouped.items())


class _Memory(Generic[_T]):
    """What follows from some facts, for the facts it was asked about last; bounded in size."""

    __slots__ = ("held", "pick")

    def __init__(self, names: Iterable[str]) -> None:
        chosen = sorted(names)
        self.pick: Callable[[Mapping[str, Value]], Any] = (
            itemgetter(*chosen) if chosen else _no_facts
        )
        self.held: dict[Any, _T] = {}

    def put(self, key: Any, value: _T) -> None:
        values = key if type(key) is tuple else (key,)
        if sum(map(_characters, values)) > _MAX_REMEMBERED_CHARACTERS:
            return  # nobody should be able to fill our memory with long texts
        if len(self.held) >= _MAX_REMEMBERED:
            self.held.clear()
        self.held[key] = value


class _Condition:
    """A rule's condition, its answers remembered: facts that it does not name may change meanwhile."""

    __slots__ = ("_memory", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._memory: _Memory[_Answer] = _Memory(rule.when.facts)

    def answer(self, facts: Mapping[str, Value], activation: Callable[[], Any]) -> bool | None:
        key = self._memory.pick(facts)
        known = self._memory.held.get(key)
        if known is None:
            known = _Answer(self.rule.when.evaluate(activation()))
            self._memory.put(key, known)
        return known.holds


class Plan:
    """The rules of one stage, the facts they name, and those of them that are `given` beforehand.

    Rules that can't hold, given those, are left out. Of the others hardly ever one has a say either. So all
    conditions are asked at once first, joined by `||`: for 30 rules that costs a fifth of asking them one by
    one, which is done if any may hold.
    """

    __slots__ = (
        "_asked",
        "_beginning",
        "_conditions",
        "_joined",
        "_language",
        "_memory",
        "_names",
        "given",
        "is_limited",
    )

    def __init__(
        self, rules: tuple[Rule, ...], language: Language, given: Mapping[str, Value]
    ) -> None:
        named = frozenset[str]().union(*(rule.when.facts for rule in rules))
        self.given = {name: value for name, value in given.items() if name in named}
        if self.given:
            certain = language.activation(self.given)
            rules = tuple(rule for rule in rules if rule.when.evaluate(certain) is not False)
        self._names = frozenset[str]().union(*(rule.when.facts for rule in rules))
        self._conditions = tuple(map(_Condition, rules))
        self._joined = tuple(
            language.any_of(rule.when for rule in rules[start : start + _JOINED_RULES])
            for start in range(0, len(rules), _JOINED_RULES)
        )
        self._language = language
        self._asked = self._names - self.given.keys()
        self._memory: _Memory[Outcome] = _Memory(self._asked)
        self._beginning: Outcome | None = None
        self.is_limited = any(name.startswith(_LIMITED) for name in self._asked)
        """Whether it hangs on limits: those are charged in an order of their own (`Engine.askable`)."""

    def begin(self, facts: Facts) -> Outcome:
        """As `judge`, for the first time in a case: while nothing is known, the same is pending."""
        if not facts.keys().isdisjoint(self._asked):
            return self.judge(facts)
        if self._beginning is None:
            self._beginning = self.judge(facts)
        return self._beginning

    def judge(self, facts: Facts) -> Outcome:
        """Ask the rules; what the outcome depends on and nobody has asked for yet is `pending`.

        Args:
            facts: with all that are `given`.
        """
        memory = self._memory
        key = memory.pick(facts)
        outcome = memory.held.get(key)
        if outcome is None:
            outcome = self._ask(facts)
            memory.put(key, outcome)
        return outcome

    def answers(self, facts: Facts) -> tuple[tuple[Rule, bool | None], ...]:
        """Return for each rule whether it holds; None if that hangs on what is not known."""
        named = {name: facts[name] for name in self._names}
        activation = self._language.activation(named)
        return tuple(
            (each.rule, each.answer(facts, lambda: activation)) for each in self._conditions
        )

    def _ask(self, facts: Facts) -> Outcome:
        prepared: list[Any] = []

        def activation() -> Any:  # made only if a condition has to be evaluated
            if not prepared:
                named = {name: facts[name] for name in self._names}
                prepared.append(self._language.activation(named))
            return prepared[0]

        if facts.keys() >= self._names and all(
            joined.evaluate(activation()) is False for joined in self._joined
        ):
            return NOTHING
        tags: list[Rule] = []
        shadow: list[str] = []
        pending: set[str] = set()
        for condition in self._conditions:
            rule, answer = condition.rule, condition.answer(facts, activation)
            if answer is None and (unknown := rule.when.facts - facts.keys()):
                pending |= unknown
                continue
            has_failed = answer is None and rule.on_error is OnError.DEFER
            if not (answer or has_failed or (answer is None and rule.on_error is OnError.BREAK)):
                continue
            if rule.is_shadow:
                shadow.append(rule.name)
            elif rule.then is Action.TAG and not has_failed:
                tags.append(rule)
            else:
                is_refused = has_failed or rule.then is not Action.ACCEPT
                decided = rule if is_refused else None
                outcome = Outcome(decided, has_failed, tuple(tags), tuple(shadow))
                break
        else:
            outcome = Outcome(tags=tuple(tags), shadow=tuple(shadow))
        if pending:
            return Outcome(pending=needs_of(pending, self._language.facts))
        return NOTHING if outcome == NOTHING else outcome


class _Plans(dict[Stage, Plan | None]):
    """The plan of each stage, made when it is first asked for.

    To join the conditions of hundreds of rules takes tens of milliseconds, in which a worker does nothing else.
    """

    def __init__(
        self, rules: tuple[Rule, ...], language: Language, given: Mapping[str, Value]
    ) -> None:
        super().__init__()
        self._rules, self._language, self._given = rules, language, given

    def __missing__(self, stage: Stage) -> Plan | None:
        here = tuple(rule for rule in self._rules if rule.at is stage)
        plan = self[stage] = Plan(here, self._language, self._given) if here else None
        return plan


class Engine:
    """One set of rules, asked stage by stage.

    Args:
        rules: in the order in which they are asked.
        language: what their conditions are written in.
        limits: what is counted.
        given: facts that are the same in all cases that it is asked about.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        language: Language,
        limits: Iterable[Limit] = (),
        given: Mapping[str, Value] = _NOTHING_GIVEN,
    ) -> None:
        self.rules = tuple(rules)
        self._language = language
        self.limits: dict[Stage, tuple[Limit, ...]] = _by_stage(limits)
        self._limit_keys = {
            stage: tuple(dict.fromkeys(name for limit in here for name in limit.key))
            for stage, here in self.limits.items()
        }
        self.facts = language.facts
        self._askable: dict[tuple[tuple[Need, ...], tuple[str, ...]], tuple[Need, ...]] = {}
        self.plans: dict[Stage, Plan | None] = _Plans(self.rules, language, given)
        """The rules of each stage; None if there are none."""
        self.tag_headers = frozenset(
            rule.tag.header.lower().encode() for rule in self.rules if rule.tag
        )
        """The header fields that tags are written into, in lower case: nobody else may."""

    def only(self, keep: Callable[[Rule], bool]) -> Engine:
        """Return an engine with some of the rules."""
        limits = (limit for here in self.limits.values() for limit in here)
        return Engine(filter(keep, self.rules), self._language, limits)

    def given(self, facts: Mapping[str, Value], limits: Iterable[Limit]) -> Engine:
        """Return an engine for cases that have some facts in common, and the limits that hold for them."""
        engine = Engine(self.rules, self._language, limits, facts)
        engine.tag_headers = self.tag_headers
        return engine

    def askable(self, pending: tuple[Need, ...], facts: Facts) -> tuple[Need, ...]:
        """Return what of the facts in question can be asked for now.

        A limit is charged once it is known what it is counted by.
        """
        first = [
            name
            for need in pending
            if need.prefix == "rate"
            for name in self._limit_keys.get(need.stage, ())
            if name not in facts
        ]
        if not first:
            return pending
        key = (pending, tuple(first))
        needs = self._askable.get(key)
        if needs is None:  # of these there are as many as rules, and what they hang on
            others = {name for need in pending if need.prefix != "rate" for name in need.facts}
            needs = self._askable[key] = needs_of(others.union(first), self.facts)
        return needs

    def judge(self, stage: Stage, facts: Mapping[str, Value]) -> Verdict:
        """Return the verdict on facts that were found out before; others can't be any more."""
        plan = self.plans[stage]
        if plan is None:
            return COMPLIANT
        known = Facts({**facts, **plan.given})
        while pending := (outcome := plan.judge(known)).pending:
            for need in pending:
                known.update(dict.fromkeys(need.facts, _NOT_FOUND_OUT))
        return put_into_words(outcome, known)


def put_into_words(outcome: Outcome, facts: Mapping[str, Value]) -> Verdict:
    """Make the verdict of an outcome; `facts` hold at least its `text_facts`."""
    if outcome is NOTHING:
        return COMPLIANT
    tags = tuple((r.tag.header, r.tag.value.render(facts)) for r in outcome.tags if r.tag)
    rule = outcome.decided
    if rule is None:
        return Verdict(tags=tags, shadow=outcome.shadow)
    if outcome.has_failed:
        return Verdict(rule.name, UNAVAILABLE, tags=tags, shadow=outcome.shadow)
    assert rule.reply is not None  # the compiler has seen to it
    reply = rule.reply.render(facts)
    sanction = rule.penalty and Sanction(*rule.penalty, reason=reply.text, rule=rule.name)
    return Verdict(rule.name, reply, sanction, tags, outcome.shadow)


def _by_stage(limits: Iterable[Limit]) -> dict[Stage, tuple[Limit, ...]]:
    found = tuple(limits)
    return {
        stage: here
        for stage in Stage
        if (here := tuple(limit for limit in found if limit.stage is stage))
    }


def _no_facts(_: Mapping[str, Value]) -> tuple[()]:
    return ()


def _characters(value: Value) -> int:
    if type(value) is str:
        return len(value)
    if type(value) is Missing:
        return len(value.reason)
    return sum(map(len, value)) if type(value) is tuple else 0
