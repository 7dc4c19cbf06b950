"""One session before the policy: its facts gathered, each at most once, its verdicts given.

A check is asked only for what the rules of the stage name, and not again before what it is about
has changed: the connection, the greeting, the transaction, the recipient, the message. And only if the
verdict depends on it: those that know at once come first, stage by stage, then those that wait, side by
side, each with its deadline. What goes wrong in a check is a fact that is `Missing`, never a way
through. Knows no rule and no reply of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable
from relay.inbound import evidence
from relay.policy.engine import NOTHING, needs_of, put_into_words
from relay.policy.facts import Facts, Missing, Stage
from relay.policy.verdict import COMPLIANT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import timedelta

    from relay.policy.case import Case
    from relay.policy.check import Check, PromptCheck, WaitingCheck
    from relay.policy.engine import Engine, Need, Outcome
    from relay.policy.facts import Fact, Value
    from relay.policy.verdict import Verdict
    from relay.ports import AuditSink

    Marks = list[tuple[Stage, Verdict]]  # compliant verdicts with tags or shadow rules
    Greeting = tuple[Facts, Marks]  # what hangs on it

__all__ = ["Judging", "Panel"]

# Looked up once: Python 3.11 takes its time to find a member of an enumeration.
_CONNECT: Final = Stage.CONNECT
_SENDER: Final = Stage.SENDER
_RECIPIENT: Final = Stage.RECIPIENT
_MESSAGE: Final = Stage.MESSAGE
_OF_CONNECTION: Final = frozenset({Stage.CONNECT, Stage.HELLO})


@dataclass(frozen=True, slots=True)
class Panel:
    """The checks of a worker: those that know at once, those that wait, and how long they may.

    `prompt` are those that wait that know at once at times; one without a time-out keeps to its own.
    """

    facts: Mapping[str, Fact]
    ready: Mapping[str, Check]
    waiting: Mapping[str, WaitingCheck]
    timeouts: Mapping[str, timedelta]
    prompt: Mapping[str, PromptCheck] = field(default_factory=dict)
    at_once: Mapping[str, Callable[[Case, Stage, frozenset[str]], Mapping[str, Value] | None]] = (
        field(init=False)
    )
    """How those are asked that know at once, always or at times."""

    def __post_init__(self) -> None:
        prompt = {name: each.at_once for name, each in self.prompt.items()}
        ready = {name: each.report for name, each in self.ready.items()}
        object.__setattr__(self, "at_once", {**prompt, **ready})


class Judging:
    """The facts of one session, and the verdicts on them.

    Args:
        panel: the checks.
        case: what is known of the session; the session keeps it up to date.
        audit: where a check that fails unexpectedly is put on record.
    """

    __slots__ = (
        "_audit",
        "_case",
        "_connection",
        "_marks",
        "_panel",
        "_recipient",
        "_recipient_verdict",
        "_transaction",
        "recipients",
    )

    def __init__(self, panel: Panel, case: Case, audit: AuditSink) -> None:
        self._panel = panel
        self._case = case
        self._audit = audit
        self._connection: Facts = Facts()
        self._transaction: Facts = Facts()
        self._recipient: Facts = Facts()
        self._recipient_verdict = COMPLIANT
        self._marks: Marks = []
        self.recipients: list[dict[str, Value]] = []  # the facts of each that was accepted

    # --- what the session says --------------------------------------------------------------

    def greeted(self) -> Greeting:
        """Forget what is about the greeting or the identity: there is another one.

        Returns:
            What `bring_back` takes should the greeting be refused: then the one before still counts.
        """
        earlier = self._connection, self._marks
        facts, kept = self._panel.facts, Facts()
        for name, value in self._connection.items():
            if facts[name].stage is _CONNECT:
                kept[name] = value
        self._connection = kept
        self._marks = [each for each in self._marks if each[0] is _CONNECT]
        return earlier

    def bring_back(self, earlier: Greeting) -> None:
        """Go on with what was known of an earlier greeting."""
        self._connection, self._marks = earlier

    def begin_transaction(self) -> None:
        """Forget what was about the last transaction."""
        self._transaction = known = Facts()
        for name, value in self._connection.items():
            if type(value) is not Missing:
                known[name] = value
        self.recipients = []
        if self._marks:
            self._marks = [each for each in self._marks if each[0] in _OF_CONNECTION]

    def recipient_accepted(self) -> None:
        """Keep what was found out of the recipient judged last: it belongs to the message."""
        own = {n: v for n, v in self._recipient.items() if n not in self._transaction}
        if own:
            self.recipients.append(own)
        if self._recipient_verdict is not COMPLIANT:
            self._marks.append((_RECIPIENT, self._recipient_verdict))

    # --- verdicts -----------------------------------------------------------------------------

    async def judge(self, engine: Engine, stage: Stage) -> Verdict:
        """Gather the facts that the rules of a stage name, and return their verdict."""
        case = self._case
        case.charged.pop(stage, None)
        plan = engine.plans[stage]
        if plan is None:
            return COMPLIANT
        is_recipient = stage is _RECIPIENT
        if is_recipient:
            facts = self._recipient = Facts(self._transaction)
        elif stage in _OF_CONNECTION:
            facts = self._connection
        else:
            facts = self._transaction
        facts.update(plan.given)
        case.facts, case.limits = facts, engine.limits
        outcome = plan.begin(facts)
        while needs := outcome.pending:
            if plan.is_limited:
                needs = engine.askable(needs, facts)
            if not self._ask_ready(needs, facts):
                await self._ask_waiting(needs, facts)
            outcome = plan.judge(facts)
        if outcome is NOTHING:
            verdict = COMPLIANT
        else:
            verdict = await self._put_into_words(engine, outcome, facts)
        if is_recipient:
            self._recipient_verdict = verdict
        elif verdict is not COMPLIANT:
            self._marks.append((stage, verdict))
        return verdict

    async def _put_into_words(self, engine: Engine, outcome: Outcome, facts: Facts) -> Verdict:
        """Gather what stands in the texts of an outcome, and make the verdict of it."""
        needs = needs_of(outcome.text_facts - facts.keys(), engine.facts)
        while self._ask_ready(needs, facts):
            needs = needs_of(outcome.text_facts - facts.keys(), engine.facts)
        await self._ask_waiting(needs, facts)
        return put_into_words(outcome, facts)

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """The header fields to add to the message."""
        return tuple([tag for _, verdict in self._marks for tag in verdict.tags])

    @property
    def shadow(self) -> tuple[str, ...]:
        """The rules in shadow mode that would have had a say."""
        return tuple([name for _, verdict in self._marks for name in verdict.shadow])

    def facts(self, stage: Stage) -> Facts:
        """What has been found out for a decision at a stage: the facts that rules have named."""
        if stage is _RECIPIENT:
            return self._recipient
        return self._connection if stage in _OF_CONNECTION else self._transaction

    def evidence(self) -> dict[str, object]:
        """What the decisions on a message rest on, for the record."""
        return evidence.judged(self._whole(_MESSAGE), self.shadow, self.recipients)

    def breach(self, stage: Stage, verdict: Verdict) -> dict[str, object]:
        """What a refusal at a stage rests on, for the record."""
        return evidence.breach(stage, self._whole(stage), verdict.shadow)

    def _whole(self, stage: Stage) -> dict[str, Value]:
        """All that decisions up to a stage rest on: what could not be found out earlier, too."""
        return {**self._connection, **self.facts(stage)}

    # --- facts --------------------------------------------------------------------------------

    def _ask_ready(self, needs: tuple[Need, ...], facts: Facts) -> bool:
        """Have checks that know at once report on the earliest stage in question; whether there were any.

        One stage at a time: who is known by the greeting needs no look into the message.
        """
        earliest = None
        at_once, case = self._panel.at_once, self._case
        for need in needs:
            prefix, stage, wanted = need
            if earliest is not None and stage is not earliest:
                break
            ask = at_once.get(prefix)
            if ask is None:
                continue
            try:
                report = ask(case, stage, wanted)
            except Exception as error:  # noqa: BLE001  whatever it is, it is ours, and says nothing of the mail
                report = self._failed(need, error)
            if report is not None:
                earliest = stage
                self._keep(need, report, facts)
        return earliest is not None

    async def _ask_waiting(self, needs: tuple[Need, ...], facts: Facts) -> None:
        """Have the checks that wait report, side by side."""
        reports = await _side_by_side([self._ask(need) for need in needs])
        for need, report in zip(needs, reports, strict=True):
            self._keep(need, report, facts)

    async def _ask(self, need: Need) -> Mapping[str, Value]:
        check = self._panel.waiting[need.prefix]
        timeout = self._panel.timeouts.get(need.prefix)
        try:
            if timeout is None:
                return await check.gather(self._case, need.stage, need.facts)
            async with asyncio.timeout(timeout.total_seconds()):
                return await check.gather(self._case, need.stage, need.facts)
        except TimeoutError:
            return dict.fromkeys(need.facts, Missing("no answer in time"))
        except Unavailable as error:
            return dict.fromkeys(need.facts, Missing(str(error)))
        except Exception as error:  # noqa: BLE001  the same
            return self._failed(need, error)

    def _failed(self, need: Need, error: Exception) -> Mapping[str, Value]:
        log_id = self._audit.fault(f"check {need.prefix} failed", error)
        return dict.fromkeys(need.facts, Missing(f"failed (log {log_id})"))

    def _keep(self, need: Need, report: Mapping[str, Value], facts: Facts) -> None:
        """Keep what was wanted, for as long as what it is about lasts."""
        _, stage, wanted = need
        for name in wanted:
            facts[name] = report.get(name, _NOT_REPORTED)
        if facts is not self._connection and stage in _OF_CONNECTION:
            found = {name: facts[name] for name in wanted}
            self._transaction.update(found)
            # What could not be found out is asked for again by the next transaction.
            self._connection.update({n: v for n, v in found.items() if type(v) is not Missing})
        elif facts is self._recipient and stage is _SENDER:
            self._transaction.update({name: facts[name] for name in wanted})


_NOT_REPORTED: Final = Missing("not reported")


async def _side_by_side(
    asked: list[Awaitable[Mapping[str, Value]]],
) -> list[Mapping[str, Value]]:
    if len(asked) < 2:  # no task for one alone
        return [await each for each in asked]
    return await asyncio.gather(*asked)
