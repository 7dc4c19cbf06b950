"""OCSP through the real relay: what the client hears and what goes on record in each case.

The responder is openssl's, or one of the test's own where it has to misbehave.
"""

import smtplib
import threading
import time
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.kit.clients import send
from tests.kit.crl_server import CrlServer
from tests.kit.ocsp_server import OcspServer, OpensslResponder
from tests.kit.partner import Partner
from tests.kit.pki import Authority
from tests.kit.relay_process import wait_until
from tests.kit.revocation import NOW, make_answer, make_crl

SIGNING = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)
TIMEOUT = 2
"""Seconds, where a responder lets us wait; where it does not, a slow machine has more."""
BRIEF = {"ocsp_timeout": f"{TIMEOUT}s"}
TABLE = {
    "ocsp_timeout": "15s",
    "retry": "1m",
    "refresh": "1m",
    "allow_private_addresses": True,
}


@pytest.fixture
def partner(site, tmp_path, start_relay):
    return Partner(site, tmp_path, start_relay, TABLE)


@pytest.fixture
def responder(partner, tmp_path):
    with OpensslResponder(tmp_path, partner.root) as running:
        yield running


@pytest.fixture
def server():
    with OcspServer() as running:
        yield running


# --- openssl as responder -----------------------------------------------------------------------


@pytest.mark.parametrize("sources", [["crl", "ocsp"], ["ocsp", "crl"], ["ocsp"]])
def test_good_is_let_in_at_the_first_attempt(partner, responder, upstream, sources):
    responder.know(partner.issue(responder.extension))
    relay = partner.relay(upstream.port, "hard", sources=sources)
    assert partner.send(relay).code == 250
    found = partner.last(relay)
    assert (found["status"], found["revocation"]) == ("named", "good")
    assert found["revocation_source"] == "ocsp"
    asked = " ".join(f"{each}={'good' if each == 'ocsp' else 'no_source'}" for each in sources)
    assert found["revocation_asked"] == f"leaf {asked.partition('=good')[0]}=good"


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_revoked_is_refused_at_the_first_attempt(partner, responder, upstream, mode):
    responder.know(partner.issue(responder.extension), revoked=True)
    relay = partner.relay(upstream.port, mode)
    answer = partner.send(relay)
    assert answer.code == 554
    assert answer.text.startswith("5.7.1 Client certificate has been revoked (ref ")
    found = partner.last(relay)
    assert (found["status"], found["revocation"]) == ("revoked", "revoked")
    assert "keyCompromise" in found["revocation_reason"]


@pytest.mark.parametrize(("mode", "code"), [("hard", 451), ("soft", 250)])
def test_unknown_depends_on_the_mode(partner, responder, upstream, mode, code):
    partner.issue(responder.extension)
    relay = partner.relay(upstream.port, mode)
    assert partner.send(relay).code == code
    assert partner.last(relay)["revocation"] == "unknown"


def test_off_asks_nobody(partner, server, upstream):
    partner.issue(server.extension)
    relay = partner.relay(upstream.port, "off")
    assert partner.send(relay).code == 250
    assert server.asked == []


@pytest.mark.parametrize("nonce", ["off", "offer", "require"])
def test_a_delegated_responder_with_and_without_nonce(partner, tmp_path, upstream, nonce):
    signer = partner.root.issue("responder", usages=(), extensions=[SIGNING, NO_CHECK])
    with OpensslResponder(tmp_path, partner.root, signer) as responder:
        responder.know(partner.issue(responder.extension))
        relay = partner.relay(upstream.port, "hard", ocsp_nonce=nonce)
        assert partner.send(relay).code == 250


@pytest.mark.parametrize(("is_revoked", "code"), [(False, 250), (True, 451)])
def test_a_responder_that_its_ca_has_revoked_does_not_count(
    partner, tmp_path, upstream, is_revoked, code
):
    signer = partner.root.issue("responder", usages=(), extensions=[SIGNING])
    path = tmp_path / "root.crl"
    path.write_bytes(make_crl(partner.root, [signer.cert.serial_number] if is_revoked else []))
    with OpensslResponder(tmp_path, partner.root, signer) as responder:
        responder.know(partner.issue(responder.extension))
        relay = partner.relay(
            upstream.port, "hard", sources=["ocsp"], authority={"crl_files": [str(path)]}
        )
        assert partner.send(relay).code == code
    found = partner.last(relay)
    assert found["revocation"] == ("unreachable" if is_revoked else "good")
    assert is_revoked == ("own certificate is in a CRL" in found.get("revocation_reason", ""))


def test_a_signer_that_is_not_for_that_does_not_count(partner, tmp_path, upstream):
    signer = partner.root.issue("some server", usages=("server",))
    with OpensslResponder(tmp_path, partner.root, signer) as responder:
        responder.know(partner.issue(responder.extension))
        relay = partner.relay(upstream.port, "hard")
        assert partner.send(relay).code == 451
    found = partner.last(relay)
    assert found["revocation"] == "unreachable"
    assert "not for OCSP signing" in found["revocation_reason"]


def test_every_certificate_of_the_chain_is_asked_about(partner, responder, upstream, tmp_path):
    middle = Authority("Partner Issuing", parent=partner.root, extensions=[responder.extension])
    (tmp_path / "middle").mkdir()
    with OpensslResponder(tmp_path / "middle", middle) as second:
        second.know(partner.issue(second.extension, by=middle))
        responder.know(middle, revoked=True)
        relay = partner.relay(upstream.port, "hard")
        assert partner.send(relay).code == 554
        found = partner.last(relay)
        assert (
            found["revocation_asked"]
            == "leaf crl=no_source ocsp=good, ca1 crl=no_source ocsp=revoked"
        )
        assert found["revocation_reason"].startswith("CN=Partner Issuing: ")


def test_a_revocation_learnt_later_ends_a_live_session(partner, responder, upstream, site):
    responder.know(partner.issue(responder.extension))
    relay = partner.relay(upstream.port, "hard", refresh="300ms", retry="100ms")
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.starttls(context=site.context(partner.files))
        client.ehlo("client.example")
        assert client.mail("x@acme.example")[0] == 250
        responder.know(partner.issued, revoked=True)
        reply = client.getreply()
        assert reply[0] == 421
        assert reply[1].startswith(b"4.7.0 ")
        client.close()
    assert partner.send(relay).code == 554


def test_a_restart_needs_no_network(partner, responder, upstream):
    responder.know(partner.issue(responder.extension))
    relay = partner.relay(upstream.port, "hard")
    assert partner.send(relay).code == 250
    relay.stop()
    responder.stop()
    relay.start()
    assert partner.send(relay).code == 250


def test_a_responder_of_the_configuration_is_asked(partner, responder, upstream):
    responder.know(partner.issue())
    relay = partner.relay(upstream.port, "hard", authority={"ocsp_urls": [responder.url]})
    assert partner.send(relay).code == 250


def test_ocsp_answers_where_the_list_has_ended(partner, responder, upstream):
    with CrlServer() as lists:
        lists.body = make_crl(
            partner.root, at=NOW - timedelta(days=9), until=NOW - timedelta(days=2)
        )
        responder.know(partner.issue(responder.extension, lists.extension))
        relay = partner.relay(upstream.port, "hard", authority={"crl_urls": [lists.url]})
        wait_until("the list is fetched", lambda: list((relay.state / "crl").glob("*.index")))
        wait_until(
            "a stale list is told from none",
            lambda: (
                partner.send(relay).code == 250
                and partner.last(relay)["revocation_asked"] == "leaf crl=stale ocsp=good"
            ),
        )


# --- responders that misbehave ------------------------------------------------------------------


def good(partner, **options):
    return lambda _: make_answer(partner.issued, partner.root, **options)


def expired(partner, server):
    server.answer = good(partner, at=NOW - timedelta(days=3), until=NOW - timedelta(days=1))


def of_another_signer(partner, server):
    server.answer = lambda _: make_answer(
        partner.issued, partner.root, signer=Authority("X").issue("x")
    )


def with_another_nonce(partner, server):
    server.answer = good(partner, nonce=bytes(32))


def about_another_certificate(partner, server):
    server.answer = good(partner, about=partner.root.issue("other"))


def garbage(partner, server):
    server.answer = lambda _: b"<html>Welcome</html>"


def down(partner, server):
    server.stop()


def silent(partner, server):
    server.hangs = True


@pytest.mark.parametrize(
    ("misbehave", "outcome", "problem"),
    [
        (expired, "stale", "the answer counted until"),
        (of_another_signer, "unreachable", "the answer is signed by a responder that may not"),
        (with_another_nonce, "unreachable", "nonce is not ours"),
        (about_another_certificate, "unreachable", "about another certificate"),
        (garbage, "unreachable", "the answer cannot be read"),
        (down, "unreachable", "Cannot connect"),
        (silent, "unreachable", f"no whole answer within {TIMEOUT} s"),
    ],
)
def test_a_bad_responder_is_not_believed_and_troubles_nobody_else(  # noqa: PLR0917  fixtures and cases
    partner, server, upstream, site, misbehave, outcome, problem
):
    partner.issue(server.extension)
    misbehave(partner, server)
    nonce = "offer" if misbehave is with_another_nonce else "off"
    relay = partner.relay(upstream.port, "hard", ocsp_nonce=nonce, **BRIEF)
    answers = []

    def try_it():
        began = time.monotonic()
        answers.append((partner.send(relay), time.monotonic() - began))

    waiting = threading.Thread(target=try_it)
    waiting.start()
    began = time.monotonic()
    for _ in range(5):
        assert send(relay.port, site.context(site.pinned)).code == 250
    took = (time.monotonic() - began) / 5
    waiting.join(30)
    ((answer, waited),) = answers
    assert answer.code == 451
    assert answer.text.startswith("4.7.5 Revocation status unknown, try again later (ref ")
    assert waited < TIMEOUT + 5
    assert took < TIMEOUT  # nobody else has waited for it
    found = partner.last(relay)
    assert found["status"] == "revocation_unknown"
    assert found["revocation"] in {outcome, "unreachable"}
    wait_until(relay.log, lambda: problem in relay.log())
    began = time.monotonic()
    assert partner.send(relay).code == 451  # and the second time without waiting
    assert time.monotonic() - began < TIMEOUT


def test_a_slow_responder_is_waited_for(partner, server, upstream):
    partner.issue(server.extension)
    server.delay, server.answer = 1.0, good(partner)
    relay = partner.relay(upstream.port, "hard")
    assert partner.send(relay).code == 250


def test_under_soft_a_silent_responder_costs_its_deadline_once(partner, server, upstream):
    partner.issue(server.extension)
    server.hangs = True
    relay = partner.relay(upstream.port, "soft", **BRIEF)
    times = []
    for _ in range(3):
        began = time.monotonic()
        assert partner.send(relay).code == 250
        times.append(time.monotonic() - began)
    assert partner.last(relay)["revocation"] == "unreachable"
    assert times[0] >= TIMEOUT
    assert max(times[1:]) < TIMEOUT


def test_all_workers_together_ask_once_and_by_get(partner, server, upstream, site):
    partner.issue(server.extension)
    server.delay, server.answer = 0.3, good(partner)
    relay = partner.relay(upstream.port, "hard")
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.append(partner.send(relay).code)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [250] * 12
    assert [method for method, _ in server.asked] == ["GET"]
    partner.send(relay)
    assert len(server.asked) == 1


def test_private_addresses_are_not_asked_unless_allowed(partner, server, upstream):
    partner.issue(server.extension)
    server.answer = good(partner)
    relay = partner.relay(upstream.port, "hard", allow_private_addresses=False)
    assert partner.send(relay).code == 451
    assert "127.0.0.1 is a private address" in partner.last(relay)["revocation_reason"]
    assert server.asked == []


def test_a_stranger_makes_nobody_ask(partner, server, upstream, site):
    stranger = partner.root.issue(
        "stranger", dns=("stranger.example",), extensions=[server.extension]
    )
    partner.issue()
    relay = partner.relay(upstream.port, "soft")
    assert send(relay.port, site.context(site.files("stranger", stranger))).code == 421
    assert server.asked == []


def test_an_older_answer_does_not_take_a_revocation_back(partner, server, upstream):
    partner.issue(server.extension)
    server.answer = good(partner, status="revoked")
    relay = partner.relay(upstream.port, "soft", refresh="200ms", retry="100ms")
    assert partner.send(relay).code == 554
    server.answer = good(partner, at=NOW - timedelta(hours=1))
    wait_until(relay.log, lambda: "older than the one in use" in relay.log())
    assert partner.send(relay).code == 554
