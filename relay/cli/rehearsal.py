"""A message before the policy without being sent: the checks asked as a session asks them, and timed.

Changes nothing: limits are looked at and not charged, nobody is banned. Knows no command line.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from relay.inbound.judging import Judging
from relay.mail import headers
from relay.policy.facts import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.inbound.judging import Panel
    from relay.model import Charge, Recipient, Sender
    from relay.policy.case import Case
    from relay.policy.check import Check, WaitingCheck
    from relay.policy.engine import Engine
    from relay.policy.facts import Value
    from relay.policy.rules import Rule
    from relay.policy.verdict import Verdict
    from relay.ports import AuditSink, Store

__all__ = ["OnlyLooking", "Rehearsal", "Step", "rehearse"]


class Step(NamedTuple):
    """What happened at one stage: the facts asked for, each rule and whether it holds, the verdict."""

    stage: Stage
    recipient: str
    facts: Mapping[str, Value]
    answers: tuple[tuple[Rule, bool | None], ...]
    verdict: Verdict


@dataclass
class Rehearsal:
    """All of it.

    Attributes:
        steps: stage by stage; the last one refuses, if any does.
        tags: the header fields that would be added.
        seconds: how long each check took.
        faults: checks that failed, and why.
    """

    steps: list[Step] = field(default_factory=list)
    tags: tuple[tuple[str, str], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def fault(self, message: str, error: BaseException) -> str:
        """Take note of a check that failed (`ports.AuditSink`)."""
        self.faults.append(f"{message}: {error!r}")
        return "below"


async def rehearse(
    case: Case,
    panel: Panel,
    engine_for: Callable[[bool], Engine],
    envelope: tuple[Sender, Sequence[Recipient]],
    message: bytes,
) -> Rehearsal:
    """Take a message through all stages until it is refused.

    Args:
        case: the connection, the identity and the greeting.
        panel: the checks.
        engine_for: the rules, once it is known who the client is, and before.
        envelope: the sender and the recipients.
        message: with CRLF line ends.
    """
    done = Rehearsal()
    timed = replace(
        panel,
        ready={name: _Timed(name, each, done) for name, each in panel.ready.items()},
        waiting={name: _TimedWaiting(name, each, done) for name, each in panel.waiting.items()},
    )
    judging = Judging(timed, case, cast("AuditSink", done))  # of which it needs `fault` only

    async def passes(stage: Stage) -> bool:
        engine = engine_for(stage is not Stage.CONNECT)
        verdict = await judging.judge(engine, stage)
        plan, facts = engine.plans[stage], judging.facts(stage)
        recipient = str(case.recipient) if stage is Stage.RECIPIENT else ""
        answers = plan.answers(facts) if plan else ()
        done.steps.append(Step(stage, recipient, dict(facts), answers, verdict))
        return verdict.is_compliant

    if not await passes(Stage.CONNECT) or not await passes(Stage.HELLO):
        return done
    judging.begin_transaction()
    case.sender, recipients = envelope
    if not await passes(Stage.SENDER):
        return done
    for case.recipient in recipients:
        if await passes(Stage.RECIPIENT):
            case.recipients += (case.recipient,)
            judging.recipient_accepted()
    if case.recipients:
        block = headers.split(message)
        case.message, case.header, case.authors = message, block, block.authors
        await passes(Stage.MESSAGE)
        done.tags = judging.tags
    return done


class _Timed:
    """A check with a stopwatch."""

    def __init__(self, name: str, check: Check, done: Rehearsal) -> None:
        self._name, self._check, self._done = name, check, done

    def report(self, case: Case, stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """As the check (`policy.check.Check`)."""
        begun = time.perf_counter()
        try:
            return self._check.report(case, stage, wanted)
        finally:
            _add(self._done, self._name, begun)


class _TimedWaiting:
    """The same for one that waits."""

    def __init__(self, name: str, check: WaitingCheck, done: Rehearsal) -> None:
        self._name, self._check, self._done = name, check, done

    async def gather(self, case: Case, stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """As the check (`policy.check.WaitingCheck`)."""
        begun = time.perf_counter()
        try:
            return await self._check.gather(case, stage, wanted)
        finally:
            _add(self._done, self._name, begun)


def _add(done: Rehearsal, name: str, begun: float) -> None:
    done.seconds[name] = done.seconds.get(name, 0.0) + time.perf_counter() - begun


class OnlyLooking:
    """A store in which nothing is changed: limits are asked whether there is room, and not charged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.scores = store.scores
        self.restrictions = store.restrictions
        self.version = store.version
        self.changed = store.changed
        self.get = store.get
        self.close = store.close

    async def spend(self, charges: Sequence[Charge], now: float) -> Sequence[float]:
        """Ask, at no cost."""
        return await self._store.spend([each._replace(cost=0) for each in charges], now)

    async def add_scores(self, *_: object) -> None:
        """Add nothing."""

    async def restrict(self, *_: object) -> None:
        """Restrict nobody."""

    async def lift(self, *_: object) -> bool:
        """Lift nothing."""
        return False

    async def put(self, *_: object) -> None:
        """Keep nothing."""
