"""What a worker knows of OCSP: answers, their ends, questions on their way and how long they are waited for."""

import asyncio
from datetime import timedelta

import pytest

from relay.pki.revocation import Outcome
from relay.revocation import ocsp_view
from relay.revocation.ocsp_news import News, OcspUrls, key_of
from relay.revocation.ocsp_view import OcspView
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority
from tests.kit.revocation import NOW

CA = Authority("CA")
EXTENSION = access_to("http://ocsp.example")
LEAF = CA.issue("leaf", extensions=[EXTENSION]).certificates[0]
KEY = key_of(LEAF, CA.certificate)
HOUR = timedelta(hours=1)
LATER = (NOW + HOUR).timestamp()


class Worker:
    """A view, and what it has asked."""

    def __init__(self, timeout=10.0):
        self.asked = []
        self.view = OcspView(
            OcspUrls(), timedelta(seconds=timeout), lambda *each: self.asked.append(each)
        )

    def status(self, at=NOW, certificate=LEAF):
        return self.view.status(certificate, CA.certificate, at)

    def outcome(self, at=NOW):
        return self.status(at).outcome

    def learn(self, outcome, until=LATER, key=KEY):
        return self.view.learn([News(key, Outcome(outcome), f"so it says: {outcome}", until)])


def run(script, **options):
    async def main():
        async with asyncio.timeout(10):
            return await script(Worker(**options))

    return asyncio.run(main())


def test_without_an_address_there_is_nobody_to_ask():
    worker = Worker()
    answer = worker.status(certificate=CA.issue("plain").certificates[0])
    assert (answer.outcome, answer.question) == (Outcome.NO_SOURCE, "")
    assert worker.asked == []


def test_what_is_not_known_is_asked_once():
    async def script(worker):
        first, second = worker.status(), worker.status()
        assert first.outcome is second.outcome is Outcome.UNREACHABLE
        assert (first.question, second.question) == (KEY, KEY)
        assert worker.asked == [(KEY, LEAF, CA.certificate)]

    run(script)


@pytest.mark.parametrize("outcome", ["good", "revoked", "unknown"])
def test_an_answer_ends_the_waiting_and_is_known_from_then_on(outcome):
    async def script(worker):
        question = worker.status().question
        waiting = asyncio.create_task(worker.view.answered([question]))
        await asyncio.sleep(0)
        assert not waiting.done()
        worker.learn(outcome)
        await waiting
        answer = worker.status()
        assert (answer.outcome, answer.question) == (outcome, "")
        assert answer.reason == f"so it says: {outcome}"
        assert len(worker.asked) == 1

    run(script)


def test_a_failure_ends_the_waiting_and_for_some_time_nobody_waits_again():
    async def script(worker):
        question = worker.status().question
        waiting = asyncio.create_task(worker.view.answered([question]))
        await asyncio.sleep(0)
        worker.learn("unreachable")
        await waiting
        answer = worker.status()
        assert (answer.outcome, answer.question) == (Outcome.UNREACHABLE, "")
        assert answer.reason == "so it says: unreachable"
        assert worker.status(NOW + 2 * HOUR).question == KEY

    run(script)


def test_without_any_news_the_waiting_ends_at_the_deadline():
    async def script(worker):
        question = worker.status().question
        await worker.view.answered([question])
        assert worker.outcome() is Outcome.UNREACHABLE
        assert len(worker.asked) == 2  # whoever comes next tries again

    run(script, timeout=0.01)


def test_who_comes_later_waits_for_the_same_question_and_not_longer():
    async def script(worker):
        question = worker.status().question
        await asyncio.gather(*(worker.view.answered([question]) for _ in range(3)))
        assert len(worker.asked) == 1

    run(script, timeout=0.01)


def test_all_questions_of_a_chain_are_waited_for():
    other = CA.issue("other", extensions=[EXTENSION]).certificates[0]

    async def script(worker):
        questions = [worker.status().question, worker.status(certificate=other).question]
        waiting = asyncio.create_task(worker.view.answered(questions))
        worker.learn("good", key=questions[0])
        await asyncio.sleep(0.01)
        assert not waiting.done()
        worker.learn("good", key=questions[1])
        await waiting

    run(script)


def test_what_nobody_has_asked_is_not_waited_for():
    run(lambda worker: worker.view.answered(["nothing"]))


def test_an_answer_that_has_ended_is_stale_and_asked_again():
    async def script(worker):
        worker.learn("good")
        assert worker.outcome(NOW + HOUR) is Outcome.GOOD
        answer = worker.status(NOW + HOUR + timedelta(seconds=1))
        assert (answer.outcome, answer.question) == (Outcome.STALE, KEY)
        assert f"{NOW + HOUR:%Y-%m-%d %H:%M} UTC" in answer.reason

    run(script)


def test_a_revocation_does_not_end():
    async def script(worker):
        worker.learn("revoked")
        assert worker.outcome(NOW + timedelta(days=99)) is Outcome.REVOKED

    run(script)


def test_a_stale_answer_whose_responder_is_down_stays_stale_and_nobody_waits():
    async def script(worker):
        worker.learn("good", until=NOW.timestamp())
        worker.learn("unreachable", until=LATER)
        answer = worker.status(NOW + timedelta(seconds=1))
        assert (answer.outcome, answer.question) == (Outcome.STALE, "")

    run(script)


def test_a_failure_does_not_replace_an_answer_that_counts():
    async def script(worker):
        worker.learn("good")
        assert not worker.learn("unreachable")
        assert worker.outcome() is Outcome.GOOD

    run(script)


def test_that_a_certificate_is_still_in_use_is_told_once_a_day():
    async def script(worker):
        worker.learn("good", until=(NOW + timedelta(days=5)).timestamp())
        for at in (NOW, NOW, NOW + timedelta(days=1)):
            worker.status(at)
        assert len(worker.asked) == 2

    run(script)


@pytest.mark.parametrize(
    ("before", "after", "is_change"),
    [
        (None, "good", False),  # who waits for it has not been decided yet
        (None, "revoked", True),
        (None, "unknown", True),
        (None, "unreachable", False),
        ("good", "good", False),
        ("good", "revoked", True),
        ("good", "unknown", True),
        ("revoked", "good", True),
        ("revoked", "revoked", False),
        ("unknown", "good", True),
    ],
)
def test_which_news_change_decisions_made_before(before, after, is_change):
    worker = Worker()
    if before:
        worker.learn(before)
    assert worker.learn(after) is is_change


def test_the_ends_of_answers_are_known_in_order():
    view = Worker().view
    moments = [10.0, 20.0, 20.0, 30.0]
    view.learn(News(str(n), Outcome.GOOD, "", until) for n, until in enumerate(moments))
    assert view.ends == moments
    view.learn([News("1", Outcome.GOOD, "", 40.0)])
    assert view.ends == [10.0, 20.0, 30.0, 40.0]


def test_there_is_an_end_to_what_is_remembered(monkeypatch):
    monkeypatch.setattr(ocsp_view, "_MAX_KNOWN", 3)
    worker = Worker()
    for outcome in ("good", "unreachable"):
        for number in range(5):
            worker.learn(outcome, key=str(number), until=float(number))
    view = worker.view
    assert list(view._answers) == list(view._failures) == ["2", "3", "4"]
    assert view.ends == [2.0, 3.0, 4.0]
