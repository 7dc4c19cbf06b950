"""The check `reputation`: scores between -100 and 100, of the right one, fading, and asked for seldom."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.checks.reputation import FACTS, HalfLives, ReputationCheck, Weights
from relay.model import Address, Endpoint, Identity, Score, Sender
from relay.policy.case import Case
from relay.policy.facts import Stage
from relay.policy.ledger import Event, SubjectKind
from relay.state.memory import MemoryStore
from tests.kit.services import FakeClock

ALL = frozenset(fact.name for fact in FACTS)


class Known:
    """A store that knows sums, and the check on it."""

    def __init__(self, **sums):
        self.clock, self.store, self.asked = FakeClock(), MemoryStore(), 0
        self.check = ReputationCheck(self, self.clock)
        for subject, value in sums.items():
            self.add(subject.replace("__", "/"), value)

    def add(self, subject, weight):
        asyncio.run(self.store.add_scores([Score(subject, weight, 3600.0)], self.now()))

    def now(self):
        return self.clock.now().timestamp()

    async def scores(self, subjects, now):
        self.asked += 1
        return await self.store.scores(subjects, now)

    def ask(self, wanted=ALL, **known):
        case = Case(peer=Endpoint("192.0.2.7", 1), listener="public", **known)
        return asyncio.run(self.check.gather(case, Stage.SENDER, frozenset(wanted)))


def test_nobody_is_neither_good_nor_bad():
    assert Known().ask() == dict.fromkeys(ALL, 0.0)


def test_each_score_is_of_its_own_subject():
    known = Known(debit__identity__acme=10, credit__sender__x=0.0)
    known.add("credit/sender/acme.example", 5.04)
    known.add("debit/network/192.0.2.0/24", 7)
    sender = Sender(Address("a", "ACME.example"))
    found = known.ask(identity=Identity("acme"), sender=sender)
    assert found["reputation.identity"] == found["reputation.score"] == -10.0
    assert found["reputation.sender"] == 5.0
    assert found["reputation.network"] == -7.0
    assert Known(debit__identity__acme=10).ask()["reputation.identity"] == 0.0


def test_without_an_identity_the_network_answers():
    known = Known()
    known.add("debit/network/192.0.2.0/24", 30)
    assert known.ask({"reputation.score"}) == {"reputation.score": -30.0}


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_score_lies_between_the_ends_and_nobody_hoards_credit(credit, debit):
    known = Known(credit__identity__acme=credit, debit__identity__acme=debit)
    score = known.ask({"reputation.identity"}, identity=Identity("acme"))["reputation.identity"]
    assert -100 <= score <= 100
    assert score == pytest.approx(max(min(credit, 100) - debit, -100), abs=0.06)


def test_a_score_fades():
    known = Known()
    known.add("debit/network/192.0.2.0/24", 64)
    scores = []
    for _ in range(4):
        scores.append(known.ask({"reputation.network"})["reputation.network"])
        known.clock.advance(timedelta(hours=1))
    assert scores == [-64, -32, -16, -8]


def test_the_store_is_asked_once_in_two_seconds_about_the_same():
    known = Known()
    for _ in range(3):
        known.ask({"reputation.network"})
    assert known.asked == 1
    known.add("debit/network/192.0.2.0/24", 1)
    known.clock.advance(timedelta(seconds=2))
    assert known.ask({"reputation.network"}) == {"reputation.network": -1.0}
    assert known.asked == 2


def test_every_event_and_every_kind_of_subject_can_be_set():
    assert set(Weights.model_fields) == {event.value for event in Event}
    assert set(HalfLives.model_fields) == {kind.value for kind in SubjectKind}


def test_what_is_remembered_and_what_nobody_has_is_there_at_once():
    known = Known(debit__identity__acme=10)
    case = Case(peer=Endpoint("192.0.2.7", 1), listener="public")
    wanted = frozenset({"reputation.identity"})
    assert known.check.at_once(case, Stage.SENDER, wanted) == {"reputation.identity": 0.0}
    case.identity = Identity("acme")
    assert known.check.at_once(case, Stage.SENDER, wanted) is None
    known.ask(wanted, identity=case.identity)
    assert known.check.at_once(case, Stage.SENDER, wanted) == {"reputation.identity": -10.0}
    known.clock.advance(timedelta(seconds=2))
    assert known.check.at_once(case, Stage.SENDER, wanted) is None


def test_what_is_forgotten_meanwhile_is_told_all_the_same(monkeypatch):
    """One is remembered and another is not, and to ask for that makes room."""
    monkeypatch.setattr("relay.checks.reputation._MAX_REMEMBERED", 0)
    known = Known(debit__identity__acme=10)
    known.add("debit/network/192.0.2.0/24", 7)
    acme = Identity("acme")
    assert known.ask({"reputation.network"}, identity=acme) == {"reputation.network": -7.0}
    both = {"reputation.network", "reputation.identity"}
    assert known.ask(both, identity=acme) == dict(zip(sorted(both), (-10.0, -7.0), strict=True))
    assert known.asked == 2
