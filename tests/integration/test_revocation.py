"""Revocation lists through the real relay: what the client hears and what goes on record in each case."""

import os
import signal
import smtplib
from datetime import timedelta

import pytest

from tests.kit.clients import send
from tests.kit.crl_server import CrlServer
from tests.kit.partner import Partner
from tests.kit.pki import Authority
from tests.kit.relay_process import children, wait_until
from tests.kit.revocation import NOW, make_crl

QUICK = {"retry": "100ms", "refresh": "300ms", "timeout": "5s", "allow_private_addresses": True}


class Publisher(Partner):
    """A partner whose CA publishes its list at a server."""

    def __init__(self, site, folder, start_relay, server):
        super().__init__(site, folder, start_relay, QUICK)
        self.server = server
        self.issue(server.extension)

    def publish(self, *revoked, **options):
        self.server.body = make_crl(self.root, revoked, **options)

    def send_until(self, relay, code):
        """Send until the answer has a code: lists are fetched when a client has come."""
        answers = []

        def is_so():
            answers.append(self.send(relay))
            return answers[-1].code == code

        wait_until(lambda: f"{code}, got {answers[-1]}: {relay.log()}", is_so)
        return answers[-1]


@pytest.fixture
def server():
    with CrlServer() as running:
        yield running


@pytest.fixture
def partner(site, tmp_path, server, start_relay):
    return Publisher(site, tmp_path, start_relay, server)


def test_good_is_let_in_under_hard_once_the_list_has_come(partner, upstream):
    partner.publish()
    relay = partner.relay(upstream.port, "hard")
    first = partner.send(relay)
    assert first.code in {250, 451}  # the first of a CA may come before its list
    partner.send_until(relay, 250)
    partner.send(relay)  # the list may have come between the handshake before and its MAIL
    found = partner.last(relay)
    assert (found["status"], found["revocation"]) == ("named", "good")
    assert (found["revocation_source"], found["revocation_mode"]) == ("crl", "hard")
    assert found["revocation_asked"] == "leaf crl=good"


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_revoked_is_refused_for_good(partner, upstream, mode):
    partner.publish(partner.issued)
    relay = partner.relay(upstream.port, mode)
    answer = partner.send_until(relay, 554)
    assert answer.text.startswith("5.7.1 Client certificate has been revoked (ref ")
    partner.send(relay)  # the list may have come between the handshake before and its MAIL
    found = partner.last(relay)
    assert (found["status"], found["revocation"]) == ("revoked", "revoked")


def test_off_asks_nobody(partner, upstream):
    partner.publish(partner.issued)
    relay = partner.relay(upstream.port, "off", authority={"crl_urls": [partner.server.url]})
    wait_until("the list is fetched", lambda: list((relay.state / "crl").glob("*.index")))
    assert partner.send(relay).code == 250
    assert "revocation" not in partner.last(relay)


def test_stale_is_deferred_under_hard(partner, upstream):
    partner.publish(at=NOW - timedelta(days=9), until=NOW - timedelta(days=2))
    authority = {"crl_urls": [partner.server.url]}
    relay = partner.relay(upstream.port, "hard", authority=authority)
    wait_until("the list is fetched", lambda: list((relay.state / "crl").glob("*.index")))
    answer = partner.send_until(relay, 451)
    assert answer.text.startswith("4.7.5 Revocation status unknown, try again later (ref ")
    wait_until(
        "a stale list is told from none",
        lambda: partner.send(relay) and partner.last(relay)["revocation"] == "stale",
    )


def test_stale_is_let_in_under_soft_and_on_record(partner, upstream):
    partner.publish(at=NOW - timedelta(days=9), until=NOW - timedelta(days=2))
    relay = partner.relay(
        upstream.port, "hard", authority={"crl_urls": [partner.server.url], "mode": "soft"}
    )
    wait_until(
        "a stale list is told from none",
        lambda: partner.send(relay).code == 250 and partner.last(relay)["revocation"] == "stale",
    )
    assert partner.last(relay)["revocation_mode"] == "soft"


def test_a_stale_list_still_revokes(partner, upstream):
    partner.publish(partner.issued, at=NOW - timedelta(days=9), until=NOW - timedelta(days=2))
    relay = partner.relay(upstream.port, "soft")
    partner.send_until(relay, 554)


def bad_signature(partner):
    partner.publish(key=Authority("Forger").key)


def rubbish(partner):
    partner.server.body = b"<html>Welcome</html>"


def unreachable(partner):
    partner.server.stop()


def endless(partner):
    partner.server.pours = True


def silent(partner):
    partner.server.hangs = True


def of_another_ca(partner):
    partner.server.body = make_crl(Authority("Other"))


@pytest.mark.parametrize(
    ("misbehave", "problem"),
    [
        (bad_signature, "its signature is wrong"),
        (rubbish, "it is no CRL"),
        (unreachable, "Cannot connect"),
        (endless, "larger than 1000000 bytes"),
        (silent, "no whole answer within 1 s"),
        (of_another_ca, "it is of another CA"),
    ],
)
def test_a_bad_server_is_unreachable_and_troubles_nobody_else(
    partner, upstream, site, misbehave, problem
):
    misbehave(partner)
    relay = partner.relay(
        upstream.port, "hard", max_crl_bytes=1_000_000, timeout="1s", retry="1m", refresh="1m"
    )
    assert partner.send(relay).code == 451
    assert partner.last(relay)["revocation"] == "unreachable"
    wait_until(relay.log, lambda: problem in relay.log())
    assert send(relay.port, site.context(site.pinned)).code == 250
    assert partner.send(relay).code == 451
    assert partner.server.poured_bytes < 20 * 2**20


def test_under_soft_an_unreachable_list_is_only_on_record(partner, upstream):
    partner.server.stop()
    relay = partner.relay(upstream.port, "soft")
    assert partner.send(relay).code == 250
    assert partner.last(relay)["revocation"] == "unreachable"


def test_private_addresses_are_not_fetched_from_unless_allowed(partner, upstream):
    partner.publish()
    relay = partner.relay(upstream.port, "hard", allow_private_addresses=False)
    assert partner.send(relay).code == 451
    wait_until(relay.log, lambda: "127.0.0.1 is a private address" in relay.log())
    assert partner.server.requests == 0


def test_an_older_list_does_not_replace_a_newer_one(partner, upstream):
    partner.publish(partner.issued, number=7)
    relay = partner.relay(upstream.port, "hard")
    partner.send_until(relay, 554)
    partner.publish(number=6)
    wait_until(relay.log, lambda: "the newer list 7 is in use" in relay.log())
    assert partner.send(relay).code == 554


def test_a_newer_list_ends_a_live_session(partner, upstream, site):
    partner.publish(number=1)
    relay = partner.relay(upstream.port, "hard")
    partner.send_until(relay, 250)
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.starttls(context=site.context(partner.files))
        client.ehlo("client.example")
        assert client.mail("x@acme.example")[0] == 250
        partner.publish(partner.issued, number=2)
        assert client.sock is not None
        reply = client.getreply()
        assert reply[0] == 421
        assert reply[1].startswith(b"4.7.0 ")
    partner.send_until(relay, 554)


def test_a_restart_needs_no_network(partner, upstream):
    partner.publish(partner.issued)
    relay = partner.relay(upstream.port, "soft")
    partner.send_until(relay, 554)
    relay.stop()
    partner.server.stop()
    relay.start()
    assert partner.send(relay).code == 554


def test_a_list_in_a_file_counts_from_the_first_connection_on(partner, upstream, tmp_path):
    path = tmp_path / "partner.crl"
    path.write_bytes(make_crl(partner.root, [partner.issued]))
    relay = partner.relay(upstream.port, "soft", fetch=False, authority={"crl_files": [str(path)]})
    assert partner.send(relay).code == 554
    path.write_bytes(make_crl(partner.root, number=2))
    partner.send_until(relay, 250)
    assert partner.server.requests == 0


def test_a_keeper_that_dies_is_replaced(partner, upstream):
    partner.publish(number=1)
    relay = partner.relay(upstream.port, "hard")
    partner.send_until(relay, 250)
    workers = set(relay.workers())
    for beside in set(children(relay.pid)) - workers:  # the keeper of lists, and of the state
        os.kill(beside, signal.SIGKILL)
    partner.publish(partner.issued, number=2)
    partner.send_until(relay, 554)
    assert set(relay.workers()) == workers
