"""A session before the policy: who is asked for what, how often, and what follows if that fails."""

import asyncio
from datetime import timedelta

import pytest

from relay.errors import Unavailable
from relay.inbound.judging import Judging, Panel
from relay.model import Address, Endpoint, Recipient, Sender
from relay.policy.case import Case
from relay.policy.compiler import compile_rule
from relay.policy.engine import UNAVAILABLE, Engine
from relay.policy.expressions import Language
from relay.policy.facts import Fact, FactType, Missing, Stage
from relay.policy.tables import RuleTable
from tests.kit.services import RecordingAudit

FACTS = {
    fact.name: fact
    for fact in (
        Fact("early.word", FactType.STRING, Stage.CONNECT, ""),
        Fact("hello.word", FactType.STRING, Stage.HELLO, ""),
        Fact("now.word", FactType.STRING, Stage.SENDER, ""),
        Fact("slow.early", FactType.STRING, Stage.CONNECT, ""),
        Fact("slow.word", FactType.STRING, Stage.SENDER, ""),
        Fact("other.word", FactType.STRING, Stage.SENDER, ""),
        Fact("each.word", FactType.STRING, Stage.RECIPIENT, ""),
        Fact("body.word", FactType.STRING, Stage.MESSAGE, ""),
    )
}


class Ready:
    """Says the same of every fact; remembers what it was asked."""

    def __init__(self, answer="yes"):
        self.answer = answer
        self.asked = []

    def report(self, case, stage, wanted):
        self.asked.append((str(stage), *sorted(wanted)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict.fromkeys(wanted, self.answer)


class Waiting(Ready):
    """The same, after a while."""

    def __init__(self, answer="yes", gate=None):
        super().__init__(answer)
        self.gate = gate

    async def gather(self, case, stage, wanted):
        await (self.gate or asyncio.sleep)(0)
        return self.report(case, stage, wanted)


class World:
    def __init__(self, **checks):
        self.checks = {
            "early": Ready(), "hello": Ready(), "now": Ready(), "each": Ready(), "body": Ready(),
            "slow": Waiting(), "other": Waiting(),
        } | checks  # fmt: skip
        waiting = {name: each for name, each in self.checks.items() if isinstance(each, Waiting)}
        ready = {name: each for name, each in self.checks.items() if name not in waiting}
        timeouts = dict.fromkeys(waiting, timedelta(milliseconds=30))
        self.audit = RecordingAudit()
        self.case = Case(Endpoint("192.0.2.1", 25), "public")
        self.case.sender = Sender(Address("a", "a.example"))
        self.case.recipient = Recipient(Address("b", "b.example"))
        self.judging = Judging(Panel(FACTS, ready, waiting, timeouts), self.case, self.audit)

    def __getattr__(self, name):
        return self.checks[name].asked


def engine(*rules):
    """Rules as (stage, condition) or (stage, condition, more keys)."""
    language = Language(FACTS, {})
    tables = [
        {"name": f"r{number}", "at": at, "when": when, "then": "reject", "reply": "550 5.7.1 No"}
        | (more[0] if more else {})
        for number, (at, when, *more) in enumerate(rules)
    ]
    tables = [{key: value for key, value in table.items() if value is not None} for table in tables]
    return Engine([compile_rule(RuleTable.model_validate(t), language) for t in tables], language)


def judge(world, rules, *stages):
    async def ask():
        return [await world.judging.judge(rules, Stage(stage)) for stage in stages]

    return asyncio.run(ask())


def test_only_what_rules_of_the_stage_name_is_asked_for():
    world = World()
    judge(world, engine(("sender", 'now.word == "x"')), "connect", "hello", "sender", "message")
    assert world.now == [("sender", "now.word")]
    assert not world.early + world.slow + world.body


def test_a_fact_of_the_connection_is_asked_for_once():
    world = World()
    rules = engine(("sender", 'early.word == "x"'), ("message", 'early.word == "x"'))
    for _ in range(3):
        world.judging.begin_transaction()
        judge(world, rules, "sender", "message")
    assert world.early == [("connect", "early.word")]


def test_a_fact_of_the_transaction_is_asked_for_once_a_transaction():
    world = World()
    rules = engine(
        ("sender", 'now.word == "x"'),
        ("recipient", 'now.word == "x"'),
        ("message", 'now.word == "x"'),
    )
    for _ in range(2):
        world.judging.begin_transaction()
        judge(world, rules, "sender", "recipient", "recipient", "message")
    assert len(world.now) == 2


def test_a_fact_of_the_transaction_that_a_recipient_needs_first_is_kept():
    world = World()
    world.judging.begin_transaction()
    judge(world, engine(("recipient", 'slow.word == "x"')), "recipient", "recipient")
    assert len(world.slow) == 1


def test_a_fact_of_a_recipient_is_asked_for_each_recipient():
    world = World()
    world.judging.begin_transaction()
    judge(world, engine(("recipient", 'each.word == "x"')), "recipient", "recipient")
    assert len(world.each) == 2


def test_another_greeting_is_another_question():
    world = World()
    rules = engine(("hello", 'hello.word == "x" || early.word == "x"'))
    judge(world, rules, "hello")
    world.judging.greeted()
    judge(world, rules, "hello")
    assert (len(world.hello), len(world.early)) == (2, 1)


BAD_GREETING = {"then": "tag", "reply": None, "header": "X-Greeting", "value": "bad"}


def test_nothing_of_a_refused_greeting_stays():
    world = World()
    rules = engine(
        ("hello", 'hello.word == "bad"', BAD_GREETING),
        ("hello", 'hello.word == "bad"', {"mode": "shadow"}),
        ("hello", 'hello.word == "bad"'),
    )
    judge(world, rules, "hello")
    earlier = world.judging.greeted()
    world.checks["hello"].answer = "bad"
    [verdict] = judge(world, rules, "hello")
    assert verdict.rule == "r2"
    world.judging.bring_back(earlier)
    world.judging.begin_transaction()
    assert (world.judging.tags, world.judging.shadow) == ((), ())


def test_nobody_waits_for_what_does_not_matter():
    world = World()
    judge(world, engine(("sender", 'now.word == "no" && slow.word == "x"')), "sender")
    assert not world.slow
    assert "slow.word" not in world.judging.facts(Stage.SENDER)


def test_checks_wait_side_by_side():
    gate = asyncio.Barrier(2)

    async def both(_):
        await gate.wait()

    world = World(slow=Waiting(gate=both), other=Waiting(gate=both))
    (verdict,) = judge(
        world, engine(("sender", 'slow.word == "yes" && other.word == "yes"')), "sender"
    )
    assert verdict.rule == "r0"


def test_what_one_answer_makes_matter_is_asked_for_next():
    world = World(slow=Waiting("no"))
    rules = engine(("sender", 'slow.word == "yes"'), ("sender", 'other.word == "yes"'))
    (verdict,) = judge(world, rules, "sender")
    assert verdict.rule == "r1"


async def forever(_):
    await asyncio.Event().wait()


FAILURES = {
    "too slow": (Waiting(gate=forever), "no answer in time", 0),
    "unavailable": (Waiting(Unavailable("SERVFAIL")), "SERVFAIL", 0),
    "broken": (Waiting(ZeroDivisionError()), "failed (log LOG1)", 1),
    "of the wrong type": (Waiting(7), None, 0),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_check_that_fails_defers_and_is_on_record(failure):
    check, reason, faults = FAILURES[failure]
    world = World(slow=check)
    (verdict,) = judge(world, engine(("sender", 'slow.word == "x"')), "sender")
    assert verdict.reply is UNAVAILABLE
    assert len(world.audit.faults) == faults
    if reason:
        assert world.judging.facts(Stage.SENDER)["slow.word"] == Missing(reason)


def test_a_check_that_breaks_at_once_defers_too():
    world = World(now=Ready(KeyError("x")))
    (verdict,) = judge(world, engine(("sender", 'now.word == "x"')), "sender")
    assert verdict.reply is UNAVAILABLE
    assert len(world.audit.faults) == 1


def test_a_check_that_keeps_back_what_was_wanted_defers():
    class Silent(Ready):
        def report(self, case, stage, wanted):
            return {}

    world = World(now=Silent())
    (verdict,) = judge(world, engine(("sender", 'now.word == "x"')), "sender")
    assert verdict.reply is UNAVAILABLE


def test_what_could_not_be_found_out_of_the_connection_is_asked_for_again():
    world = World(slow=Waiting(Unavailable("SERVFAIL")))
    rules = engine(("sender", 'slow.early == "x"'))
    world.judging.begin_transaction()
    assert not judge(world, rules, "sender")[0].is_compliant
    world.checks["slow"].answer = "y"
    world.judging.begin_transaction()
    assert judge(world, rules, "sender")[0].is_compliant
    assert len(world.slow) == 2


def test_facts_in_texts_are_asked_for_once_the_rule_holds():
    world = World()
    more = {"reply": "550 5.7.1 {slow.word} and {body.word}"}
    rules = engine(
        ("message", 'now.word == "yes"', more),
        ("sender", 'now.word == "no"', {"reply": "550 5.7.1 {slow.word}"}),
    )
    world.judging.begin_transaction()
    judge(world, rules, "sender")
    assert not world.slow
    (verdict,) = judge(world, rules, "message")
    assert verdict.reply.text == "yes and yes"


TAG = {"then": "tag", "reply": None, "header": "X-Tag", "value": "{now.word}"}


def test_tags_of_a_connection_stay_and_those_of_a_transaction_go():
    world = World()
    rules = engine(
        ("hello", 'hello.word == "yes"', TAG | {"value": "{hello.word}"}),
        ("sender", 'now.word == "yes"', TAG),
        ("recipient", 'each.word == "yes"', TAG | {"header": "X-Each"}),
    )
    judge(world, rules, "hello")
    world.judging.begin_transaction()
    judge(world, rules, "sender", "recipient")
    assert [name for name, _ in world.judging.tags] == ["X-Tag", "X-Tag"]
    world.judging.recipient_accepted()
    assert [name for name, _ in world.judging.tags] == ["X-Tag", "X-Tag", "X-Each"]
    world.judging.begin_transaction()
    assert len(world.judging.tags) == 1
    world.judging.greeted()
    assert world.judging.tags == ()


def test_the_evidence_of_a_message():
    world = World()
    rules = engine(
        ("sender", 'now.word == "yes"', {"mode": "shadow"}),
        ("recipient", 'each.word == "no"'),
        ("message", 'slow.word == "no"', {"on_error": "skip"}),
    )
    world.checks["slow"].answer = Missing("timeout")
    world.judging.begin_transaction()
    judge(world, rules, "sender")
    for _ in range(2):
        judge(world, rules, "recipient")
        world.judging.recipient_accepted()
    judge(world, rules, "message")
    assert world.judging.evidence() == {
        "facts": {"now.word": "yes", "slow.word": {"missing": "timeout"}},
        "recipient_facts": [{"each.word": "yes"}, {"each.word": "yes"}],
        "shadow": ["r0"],
    }
