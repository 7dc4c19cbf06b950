"""Delta lists through the real relay: what they add and take back counts, in live sessions too."""

import smtplib

import pytest
from cryptography import x509

from tests.kit.clients import session, transact
from tests.kit.crl_server import CrlServer
from tests.kit.pki import Authority
from tests.kit.relay_process import wait_until
from tests.kit.revocation import make_crl

IDENTITY = '[[identity]]\nname = "named"\nnames = ["dns:named.acme.example"]\n'


class Published:
    """A CA with a complete list and, elsewhere, deltas to it; a client of it, and the relay it comes to."""

    def __init__(self, complete, deltas, site, folder):
        self.root = Authority("Delta Root")
        self._complete, self._deltas = complete, deltas
        name = "named.acme.example"
        self.issued = self.root.issue(name, dns=(name,), extensions=[complete.extension])
        self.context = site.context(site.files("named", self.issued))
        self.ca = folder / "delta-root.pem"
        self.ca.write_bytes(self.root.pem)

    def complete(self, *revoked, number):
        place = x509.UniformResourceIdentifier(self._deltas.url)
        freshest = x509.FreshestCRL([x509.DistributionPoint([place], None, None, None)])
        self._complete.body = make_crl(
            self.root, revoked, number=number, extensions=[(freshest, False)]
        )

    def delta(self, *revoked, number, base, **options):
        self._deltas.body = make_crl(self.root, revoked, number=number, base=base, **options)

    def send(self, relay):
        with session(relay.port, self.context) as client:
            client.ehlo("client.example")
            return transact(client).code

    def is_held(self, relay, number):
        return len(list((relay.state / "crl").glob("*.index"))) == number


@pytest.fixture
def published(site, tmp_path):
    with CrlServer() as complete, CrlServer() as deltas:
        yield Published(complete, deltas, site, tmp_path)


@pytest.fixture
def start(published, site, upstream, start_relay):
    def start():
        return start_relay(
            upstream.port,
            allowlist=site.allowlist(IDENTITY),
            listener={"client_ca": [str(published.ca)], "revocation": "hard"},
            revocation={"allow_private_addresses": True, "retry": "100ms", "refresh": "300ms"},
        )

    return start


def test_a_delta_revokes_and_ends_a_live_session(published, start):
    published.complete(number=1)
    published.delta(number=2, base=1)
    relay = start()
    wait_until("the lists are there", lambda: published.send(relay) == 250)
    wait_until("the delta is there, too", lambda: published.is_held(relay, 2))
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.starttls(context=published.context)
        client.ehlo("client.example")
        assert client.mail("x@acme.example")[0] == 250
        published.delta(published.issued, number=3, base=1)
        code, text = client.getreply()
        assert (code, text[:6]) == (421, b"4.7.0 ")
    assert published.send(relay) == 554
    found = relay.audit(kind="handshake", identity="named")[-1]
    assert (found["revocation"], found["revocation_source"]) == ("revoked", "crl")


def test_a_delta_releases_what_was_on_hold(published, start):
    published.complete((published.issued.cert.serial_number, "certificateHold"), number=1)
    published.delta(number=2, base=1)
    relay = start()
    wait_until("it is on hold", lambda: published.send(relay) == 554)
    published.delta((published.issued.cert.serial_number, "removeFromCRL"), number=3, base=1)
    wait_until("it is released", lambda: published.send(relay) == 250)


@pytest.mark.parametrize("why", ["forged", "of a later list", "not newer"])
def test_a_delta_that_does_not_join_changes_nothing(published, start, why):
    published.complete(number=5)
    relay = start()
    wait_until("the list is there", lambda: published.send(relay) == 250)
    options = {
        "forged": {"number": 6, "base": 5, "key": Authority("Forger").key},
        "of a later list": {"number": 9, "base": 7},
        "not newer": {"number": 5, "base": 4},
    }[why]
    before = published._deltas.requests
    published.delta(published.issued, **options)
    wait_until("it is fetched twice", lambda: published._deltas.requests > before + 2)
    assert published.send(relay) == 250
