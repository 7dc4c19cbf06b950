"""The keeper of OCSP answers with responders of the test's own: what it asks when, keeps, tells and shows."""

import asyncio
from datetime import timedelta

import pytest

from relay.pki.certificate import Certificate
from relay.pki.revocation import Answer, Outcome
from relay.revocation import ocsp_keeper
from relay.revocation.ocsp_keeper import OcspKeeper, Own
from relay.revocation.ocsp_news import OcspUrls, key_of
from relay.revocation.ocsp_responders import Exchange, Responders
from relay.settings.revocation import Revocation
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_answer
from tests.kit.services import FakeClock

CA = Authority("CA")
EXTENSION = access_to("http://ocsp.example")
ISSUED = CA.issue("leaf", extensions=[EXTENSION], days=60)
LEAF = ISSUED.certificates[0]
KEY = key_of(LEAF, CA.certificate)
HOUR = timedelta(hours=1)
QUICK = Revocation(retry="10ms", refresh="20ms")
SLOW = Revocation(retry="1h", refresh="1h")
DOWN = Exchange(Answer(Outcome.UNREACHABLE, "down"))


def answer(outcome="good", at=NOW, until=NOW + HOUR):
    response = make_answer(ISSUED, CA, status=outcome, at=at, until=until)
    return Exchange(Answer(Outcome(outcome), f"it is {outcome}", at, until), response)


class FakeResponders:
    """Gives one answer after the other, the last for ever; judges kept ones as the real ones do."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.hold = None

    async def ask(self, certificate, issuer, urls):
        self.asked.append(certificate.common_name)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(found, Exception):
            raise found
        return found

    def judge(self, response, certificate, issuer):
        return Responders(None, SLOW, self.clock, None, None).judge(response, certificate, issuer)


class Kept:
    """A keeper with what it has told and shown."""

    def __init__(self, folder, *answers, settings=SLOW, own=(), at=NOW):
        self.clock = FakeClock()
        self.clock.time = at
        self.responders = FakeResponders(*(answers or (DOWN,)))
        self.responders.clock = self.clock
        self.told, self.shown = [], []
        self.keeper = OcspKeeper(
            folder, settings, OcspUrls(), self.clock, self.responders, own=own,
            tell=self.told.extend, show=self.shown.append, chance=lambda: 0.0,
        )  # fmt: skip

    @property
    def asked(self):
        return self.responders.asked

    def outcomes(self):
        return [str(each.outcome) for each in self.told]

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def run(self, script):
        await self.keeper.prepare()
        self.keeper.start()
        try:
            await script(self)
        finally:
            self.keeper.stop()


def keep(folder, script, *answers, **options):
    kept = Kept(folder, *answers, **options)
    asyncio.run(kept.run(script))
    return kept


async def ask_and_hear(kept):
    before = len(kept.told)
    kept.keeper.ask(LEAF, CA.certificate)
    await kept.until(lambda: len(kept.told) > before)


async def wait_a_moment(kept):
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("outcome", ["good", "revoked", "unknown"])
def test_an_answer_is_told_with_its_end(tmp_path, outcome):
    kept = keep(tmp_path, ask_and_hear, answer(outcome))
    end = (NOW + HOUR + SLOW.ocsp_clock_skew).timestamp()
    assert kept.told == [(KEY, Outcome(outcome), f"it is {outcome}", end)]


def test_a_failure_is_told_with_the_end_of_the_next_attempt(tmp_path):
    kept = keep(tmp_path, ask_and_hear, DOWN)
    again = (NOW + 0.8 * HOUR + SLOW.ocsp_timeout).timestamp()
    assert kept.told == [(KEY, Outcome.UNREACHABLE, "down", again)]


def test_many_workers_that_ask_make_one_request(tmp_path):
    async def script(kept):
        kept.responders.hold = asyncio.Event()
        for _ in range(5):
            kept.keeper.ask(LEAF, CA.certificate)
        await wait_a_moment(kept)
        kept.keeper.ask(LEAF, CA.certificate)
        kept.responders.hold.set()
        await kept.until(lambda: kept.told)
        kept.keeper.ask(LEAF, CA.certificate)

    kept = keep(tmp_path, script, answer())
    assert kept.asked == ["leaf"]
    assert kept.outcomes() == ["good", "good"]


def test_soon_after_a_failure_the_same_is_said_again_without_asking(tmp_path):
    async def script(kept):
        await ask_and_hear(kept)
        await ask_and_hear(kept)

    kept = keep(tmp_path, script, DOWN)
    assert kept.asked == ["leaf"]
    assert kept.told[0] == kept.told[1]


def test_nothing_is_asked_where_that_is_off(tmp_path):
    async def script(kept):
        kept.keeper.ask(LEAF, CA.certificate)
        await wait_a_moment(kept)

    assert keep(tmp_path, script, answer(), settings=Revocation(fetch=False)).asked == []


@pytest.mark.parametrize("certificate", [CA.issue("plain").certificates[0], Certificate(b"\x30\0")])
def test_what_names_no_responder_or_nothing_at_all_is_not_asked(tmp_path, certificate):
    async def script(kept):
        kept.keeper.ask(certificate, CA.certificate)
        await wait_a_moment(kept)

    assert keep(tmp_path, script, answer()).asked == []


def test_answers_are_refreshed_without_being_asked_for(tmp_path):
    async def script(kept):
        kept.keeper.ask(LEAF, CA.certificate)
        await kept.until(lambda: kept.outcomes()[-1:] == ["revoked"])

    newer = answer("revoked", at=NOW + timedelta(seconds=1))
    kept = keep(tmp_path, script, answer(), answer(), newer, settings=QUICK)
    assert kept.outcomes() == ["good", "good", "revoked"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (DOWN, "down"),
        (Exchange(Answer(Outcome.STALE, "the answer is old", NOW, NOW)), "the answer is old"),
        (answer(at=NOW - HOUR), "the answer is older than the one in use"),
        (RuntimeError("a bug"), "an error of our own, see the log"),
    ],
)
def test_a_failure_changes_nothing_and_is_tried_again(tmp_path, bad, problem):
    async def script(kept):
        kept.keeper.ask(LEAF, CA.certificate)
        await kept.until(lambda: len(kept.asked) > 3)

    last = answer("revoked", at=NOW + timedelta(seconds=1))
    kept = keep(tmp_path, script, answer("unknown"), bad, bad, last, settings=QUICK)
    assert kept.outcomes()[:6] == [
        "unknown", "unknown", "unreachable", "unknown", "unreachable", "revoked",
    ]  # fmt: skip
    assert kept.told[2].reason == problem


def test_failures_are_tried_again_ever_more_rarely(tmp_path):
    async def script(kept):
        await ask_and_hear(kept)
        (question,) = kept.keeper._questions.values()
        for _ in range(4):
            await kept.keeper._ask(question)

    kept = keep(tmp_path, script, DOWN, settings=Revocation(retry="10s", refresh="1m"))
    waits = [each.until - NOW.timestamp() for each in kept.told]
    assert waits == pytest.approx([8 + 5, 16 + 5, 32 + 5, 48 + 5, 48 + 5])


def test_after_a_restart_the_answer_is_told_without_asking(tmp_path):
    keep(tmp_path, ask_and_hear, answer())
    kept = keep(tmp_path, wait_a_moment, DOWN, settings=Revocation(refresh="30m"))
    assert kept.outcomes()[:1] == ["good"]


@pytest.mark.parametrize("settings", [SLOW, Revocation(fetch=False)])
def test_a_kept_answer_that_has_ended_is_not_told(tmp_path, settings):
    keep(tmp_path, ask_and_hear, answer())
    kept = keep(tmp_path, wait_a_moment, DOWN, at=NOW + 2 * HOUR, settings=settings)
    assert "good" not in kept.outcomes()
    assert kept.asked == (["leaf"] if settings.fetch else [])


def test_a_kept_revocation_is_told_however_old(tmp_path):
    keep(tmp_path, ask_and_hear, answer("revoked"))
    kept = keep(tmp_path, wait_a_moment, DOWN, at=NOW + timedelta(days=5))
    assert kept.outcomes()[0] == "revoked"


@pytest.mark.parametrize("after", [timedelta(days=8), timedelta(days=100)])
def test_who_has_not_come_for_long_is_forgotten(tmp_path, after):
    keep(tmp_path, ask_and_hear, answer("revoked"))
    kept = keep(tmp_path, wait_a_moment, answer(), at=NOW + after)
    assert kept.told == []
    assert kept.asked == []
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_come_any_more_is_forgotten_under_way(tmp_path):
    async def script(kept):
        await ask_and_hear(kept)
        kept.clock.advance(timedelta(days=8))
        await kept.until(lambda: not kept.keeper._questions)

    keep(tmp_path, script, answer(), settings=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_there_is_room_for_so_many_and_the_one_unseen_for_longest_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ocsp_keeper, "MAX_QUESTIONS", 2)
    leaves = [CA.issue(f"client{n}", extensions=[EXTENSION]).certificates[0] for n in range(3)]

    async def script(kept):
        for leaf in leaves:
            kept.keeper.ask(leaf, CA.certificate)
            kept.clock.advance(timedelta(days=1))
        await kept.until(lambda: len(kept.told) == 2)
        names = {each.certificate.common_name for each in kept.keeper._questions.values()}
        assert names == {"client1", "client2"}

    keep(tmp_path, script, answer())


def test_an_answer_that_cannot_be_kept_counts_all_the_same(tmp_path, monkeypatch):
    async def script(kept):
        def full(*_):
            raise OSError("no space left")

        monkeypatch.setattr(kept.keeper._folder, "write", full)
        await ask_and_hear(kept)

    assert keep(tmp_path, script, answer()).outcomes() == ["good"]


# --- our own certificates -------------------------------------------------------------------------


def own(*, is_needed=False):
    return [Own(LEAF, CA.certificate, is_needed)]


def test_our_own_is_asked_about_and_the_answer_shown_until_its_end(tmp_path):
    async def script(kept):
        await kept.until(lambda: kept.shown)

    given = answer()
    kept = keep(tmp_path, script, given, own=own())
    assert kept.shown == [(LEAF.sha256, given.response, (NOW + HOUR).timestamp())]


def test_one_that_is_needed_is_there_before_anything_begins(tmp_path):
    kept = Kept(tmp_path, answer(), own=own(is_needed=True))
    asyncio.run(kept.keeper.prepare())
    assert len(kept.shown) == 1
    later = Kept(tmp_path, answer(), own=own())
    asyncio.run(later.keeper.prepare())
    assert later.asked == []  # it was kept
    assert len(later.shown) == 1


def test_one_that_is_not_needed_is_not_waited_for(tmp_path):
    kept = Kept(tmp_path, answer(), own=own())
    asyncio.run(kept.keeper.prepare())
    assert kept.asked == []


@pytest.mark.parametrize("outcome", ["revoked", "unknown"])
def test_an_answer_that_is_not_good_takes_the_one_before_away(tmp_path, outcome):
    async def script(kept):
        await kept.until(lambda: len(kept.shown) > 1)

    bad = answer(outcome, at=NOW + timedelta(seconds=1))
    kept = keep(tmp_path, script, answer(), bad, settings=QUICK, own=own())
    assert kept.shown[1] == (LEAF.sha256, b"", 0.0)


def test_our_own_is_never_forgotten_while_it_is_ours(tmp_path):
    async def script(kept):
        await kept.until(lambda: kept.shown)

    keep(tmp_path, script, answer(), own=own())
    later = keep(tmp_path, wait_a_moment, DOWN, own=own(), at=NOW + timedelta(days=8))
    assert later.asked == ["leaf"]
    after = keep(tmp_path, wait_a_moment, DOWN, at=NOW)
    assert after.asked == []
    assert list(tmp_path.iterdir()) == []


# --- the log ----------------------------------------------------------------------------------------


def test_a_responder_that_fails_for_many_is_logged_once_and_when_it_is_back(tmp_path, capsys):
    leaves = [CA.issue(f"client{n}", extensions=[EXTENSION]).certificates[0] for n in range(3)]

    async def script(kept):
        for leaf in leaves:
            kept.keeper.ask(leaf, CA.certificate)
        await kept.until(lambda: len(kept.told) == 3)
        kept.responders.answers = [answer()]
        for question in list(kept.keeper._questions.values()):
            await kept.keeper._ask(question)

    keep(tmp_path, script, DOWN)
    logged = capsys.readouterr().out
    assert logged.count("OCSP responder fails") == 1
    assert logged.count("OCSP responder is back") == 1
