"""Asking responders: GET and POST, one after the other, nonces, deadlines; over a fetcher of the test's own."""

import asyncio
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.errors import Unavailable
from relay.net.fetcher import Fetched
from relay.pki.certificate import Certificate
from relay.pki.ocsp import MAX_GET_BYTES
from relay.pki.revocation import Answer, Outcome
from relay.revocation.ocsp_responders import Responders
from relay.settings.revocation import Revocation
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_answer
from tests.kit.services import FakeClock

CA = Authority("CA")
ISSUED = CA.issue("leaf")
LEAF = ISSUED.certificates[0]
GOOD = make_answer(ISSUED, CA)
OLD = make_answer(ISSUED, CA, at=NOW - timedelta(days=3), until=NOW - timedelta(days=2))
A, B = "http://a.example", "http://b.example"
NONCE = bytes(range(32))


class FakeFetcher:
    """Answers by method and host; remembers what was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []
        self.running = self.most = 0

    async def get(self, url):
        assert len(url) <= MAX_GET_BYTES
        return await self._answer("GET", url, None)

    async def post(self, url, body, content_type):
        assert content_type == "application/ocsp-request"
        return await self._answer("POST", url, body)

    async def _answer(self, method, url, body):
        host = url[: len(A)]
        self.asked.append((method, host))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = self.answers[host]
            if isinstance(answer, dict):
                answer = answer[method]
            if callable(answer):
                answer = answer(body)
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, float):
                await asyncio.sleep(answer)
                answer = GOOD
            return Fetched(200, answer)
        finally:
            self.running -= 1


def nobody_is_listed(_certificate, _issuer):
    return Answer(Outcome.NO_SOURCE, "there is no CRL")


def ask(answers, urls=(A,), *, certificate=LEAF, in_lists=nobody_is_listed, **settings):
    clock = FakeClock()
    clock.time = NOW
    fetcher = FakeFetcher(answers)

    async def main():
        made = Responders(
            fetcher, Revocation(**settings), clock, lambda size: NONCE[:size], in_lists
        )
        async with asyncio.timeout(10):
            return await made.ask(certificate, CA.certificate, urls)

    exchange = asyncio.run(main())
    return exchange, fetcher


def test_a_short_request_goes_by_get():
    exchange, fetcher = ask({A: GOOD})
    assert (exchange.answer.outcome, exchange.response) == (Outcome.GOOD, GOOD)
    assert fetcher.asked == [("GET", A)]


def test_a_long_address_is_posted_to():
    exchange, fetcher = ask({A: GOOD}, [A + "/" + "x" * 200])
    assert exchange.answer.outcome is Outcome.GOOD
    assert fetcher.asked == [("POST", A)]


@pytest.mark.parametrize("useless", [Unavailable("the server answers 405"), b"<html>", OLD])
def test_what_came_by_get_and_is_of_no_use_is_asked_for_by_post(useless):
    exchange, fetcher = ask({A: {"GET": useless, "POST": GOOD}})
    assert exchange.answer.outcome is Outcome.GOOD
    assert fetcher.asked == [("GET", A), ("POST", A)]


@pytest.mark.parametrize("status", ["revoked", "unknown"])
def test_a_definite_answer_is_not_asked_for_twice(status):
    exchange, fetcher = ask({A: make_answer(ISSUED, CA, status=status), B: GOOD}, [A, B])
    assert exchange.answer.outcome == status
    assert fetcher.asked == [("GET", A)]


@pytest.mark.parametrize("useless", [Unavailable("down"), b"<html>", OLD])
def test_the_next_responder_is_asked_if_one_is_of_no_use(useless):
    exchange, fetcher = ask({A: useless, B: GOOD}, [A, B])
    assert exchange.answer.outcome is Outcome.GOOD
    assert fetcher.asked == [("GET", A), ("POST", A), ("GET", B)]


SIGNING = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)
DELEGATE = CA.issue("ocsp.example", usages=(), extensions=[SIGNING])
EXEMPT = CA.issue("ocsp.example", usages=(), extensions=[SIGNING, NO_CHECK])


@pytest.mark.parametrize(
    ("signer", "listed", "expected"),
    [
        (DELEGATE, Outcome.REVOKED, Outcome.UNREACHABLE),
        (DELEGATE, Outcome.GOOD, Outcome.GOOD),
        (DELEGATE, Outcome.STALE, Outcome.GOOD),  # most CAs list their users only
        (DELEGATE, Outcome.NO_SOURCE, Outcome.GOOD),
        (EXEMPT, Outcome.REVOKED, Outcome.GOOD),
        (None, Outcome.REVOKED, Outcome.GOOD),  # the CA itself
    ],
)
def test_a_responder_that_is_revoked_itself_has_nothing_to_say(signer, listed, expected):
    asked = []

    def in_lists(certificate, issuer):
        asked.append((certificate.der, issuer.der))
        return Answer(listed, "keyCompromise")

    exchange, _ = ask({A: make_answer(ISSUED, CA, signer=signer)}, in_lists=in_lists)
    assert exchange.answer.outcome is expected
    assert (expected is Outcome.UNREACHABLE) == ("keyCompromise" in exchange.answer.reason)
    assert set(asked) <= {(DELEGATE.certificates[0].der, CA.certificate.der)}


def test_if_none_is_of_use_the_outcome_says_most_that_can_be_said():
    exchange, _ = ask({A: OLD, B: Unavailable("down")}, [A, B])
    assert exchange.answer.outcome is Outcome.STALE
    exchange, _ = ask({A: Unavailable("down"), B: OLD}, [A, B])
    assert exchange.answer.outcome is Outcome.STALE
    exchange, _ = ask({A: Unavailable("down")})
    assert exchange.answer == (Outcome.UNREACHABLE, "down", None, None, None, "")
    assert exchange.response == b""


def test_without_an_address_nothing_is_asked():
    exchange, fetcher = ask({}, [])
    assert exchange.answer.outcome is Outcome.UNREACHABLE
    assert fetcher.asked == []


def test_a_silent_responder_leaves_the_next_its_share_of_the_time():
    exchange, fetcher = ask({A: 60.0, B: GOOD}, [A, B], ocsp_timeout="200ms")
    assert exchange.answer.outcome is Outcome.GOOD
    assert fetcher.asked == [("GET", A), ("GET", B)]


def test_the_deadline_is_for_all_of_them():
    exchange, _ = ask({A: 60.0, B: 60.0}, [A, B], ocsp_timeout="100ms")
    assert exchange.answer.outcome is Outcome.UNREACHABLE
    assert exchange.answer.reason.startswith("no whole answer within 0.0")


def with_nonce(body):
    request = ocsp.load_der_ocsp_request(body)
    assert request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE
    return make_answer(ISSUED, CA, nonce=NONCE)


@pytest.mark.parametrize(
    ("mode", "answer", "outcome"),
    [
        ("offer", with_nonce, "good"),
        ("offer", GOOD, "good"),
        ("offer", make_answer(ISSUED, CA, nonce=bytes(32)), "unreachable"),
        ("require", with_nonce, "good"),
        ("require", GOOD, "unreachable"),
    ],
)
def test_a_nonce_is_posted_and_must_be_ours(mode, answer, outcome):
    exchange, fetcher = ask({A: answer}, ocsp_nonce=mode)
    assert exchange.answer.outcome == outcome
    assert fetcher.asked == [("POST", A)]


def test_an_answer_without_an_end_counts_as_long_as_we_wait_to_look_again():
    answer = make_answer(ISSUED, CA, until=None)
    exchange, _ = ask({A: answer}, refresh="20m")
    assert exchange.answer.next_update == NOW + timedelta(minutes=20)


def test_the_skew_is_the_configurations():
    answer = make_answer(ISSUED, CA, at=NOW + timedelta(minutes=20))
    assert ask({A: answer})[0].answer.outcome is Outcome.UNREACHABLE
    assert ask({A: answer}, ocsp_clock_skew="30m")[0].answer.outcome is Outcome.GOOD


def test_a_certificate_that_cannot_be_read_is_not_asked_about():
    exchange, fetcher = ask({A: GOOD}, certificate=Certificate(b"\x30\0"))
    assert exchange.answer.outcome is Outcome.UNREACHABLE
    assert fetcher.asked == []


def test_one_responder_is_asked_few_things_at_a_time_and_holds_up_no_other():
    fetcher = FakeFetcher({A: 60.0, B: GOOD})
    clock = FakeClock()
    clock.time = NOW

    async def main():
        made = Responders(fetcher, Revocation(), clock, bytes, nobody_is_listed)
        slow = [asyncio.create_task(made.ask(LEAF, CA.certificate, [A])) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            exchange = await made.ask(LEAF, CA.certificate, [B])
        for task in slow:
            task.cancel()
        return exchange

    assert asyncio.run(main()).answer.outcome is Outcome.GOOD
    assert fetcher.most <= 5
