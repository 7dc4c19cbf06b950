"""What clients do through the real binary: downgrades on record, harm that leads to a ban, bans that end."""

import asyncio
import json
import smtplib
import ssl
import time
from datetime import timedelta

import pytest

from relay.model import Endpoint
from relay.net.interfaces import own_addresses
from relay.state.sqlite import SqliteStore
from tests.kit import clients
from tests.kit.client_hello import client_hello, in_records
from tests.kit.clients import Proxied
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.site import SENDER, with_public_listener

RULES = """
[[rule]]
name = "reputation_network"
then = "ban"
reply = "554 5.7.1 Too much harm has come from {peer.network} of late"
duration = "6s"
when = "reputation.network <= -30.0"
"""


@pytest.fixture
def relay(site, upstream, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    settings = site.settings(
        upstream.port,
        listener={"policy": ["defaults", "rules.toml"]},
        workers=1,
        checks={"reputation": {"half_life": {"network": "3s"}}},
        policy={"exempt": ["203.0.113.0/24"]},
    )
    with_public_listener(settings)
    with RelayProcess(tmp_path, settings, site.allowlist()) as running:
        yield running


def smuggle(relay, site, address):
    """Hide one message in another."""
    with Proxied(relay.ports["public"], address) as smtp:
        smtp.ehlo("client.strange.example")
        smtp.starttls(context=site.context())
        smtp.ehlo("client.strange.example")
        assert smtp.mail("a@strange.example")[0] == 250
        assert smtp.rcpt("user@dest.example")[0] == 250
        smtp.docmd("DATA")
        smtp.send(b"From: a@strange.example\r\n\r\nx\n.\nMAIL FROM:<x@y.example>\r\n.\r\n")
        assert smtp.getreply()[0] == 554


def greeted(relay, address):
    try:
        Proxied(relay.ports["public"], address).close()
    except smtplib.SMTPConnectError as refused:
        return refused.smtp_code
    return 220


def test_harm_leads_to_a_ban_that_ends_and_the_score_fades(relay, site):
    address = "192.0.2.66"
    for _ in range(2):
        smuggle(relay, site, address)
    assert wait_until("it is banned", lambda: greeted(relay, address) == 554 or None)
    (record,) = relay.audit(kind="sanction")
    assert (record["action"], record["target"]) == ("ban", f"{address}/32")
    assert (record["rule"], record["times"]) == ("reputation_network", 1)
    banned = relay.wait_for_audit(kind="refusal", rule="reputation_network")
    assert -100 <= banned["facts"]["reputation.network"] <= -30
    assert greeted(relay, "192.0.3.66") == 220, "another network"
    # The ban ends, and the score has faded meanwhile: it does not come back.
    assert wait_until("it is heard again", lambda: greeted(relay, address) == 220 or None)
    assert greeted(relay, address) == 220
    assert len(relay.audit(kind="sanction")) == 1


def own_address():
    """An address of this machine that other machines may see: not loopback, not private."""
    own = (each for each in own_addresses() if each.version == 4)
    return next((str(each) for each in own if not Endpoint(str(each), 0).is_local), None)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("203.0.113.7", id="exempt"),
        pytest.param("10.0.0.1", id="of our own side"),
        pytest.param(own_address(), id="our own"),
    ],
)
def test_exempt_and_own_addresses_are_never_banned(address, relay, site):
    if address is None:
        pytest.skip("all addresses of this machine are private ones")
    for _ in range(3):
        smuggle(relay, site, address)
    smuggle(relay, site, "192.0.2.66")
    relay.wait_for_audit(kind="refusal", peer_address="192.0.2.66", rule="bare_newline")
    assert greeted(relay, address) == 220
    assert not relay.audit(kind="sanction")


@pytest.mark.parametrize(
    "address", [pytest.param("203.0.113.7", id="exempt"), pytest.param(own_address(), id="our own")]
)
def test_a_ban_of_everybody_leaves_exempt_and_own_addresses_alone(address, relay):
    if address is None:
        pytest.skip("all addresses of this machine are private ones")
    assert relay.command("ban", "add", "0.0.0.0/0", "--reason", "a mistake").returncode == 0
    assert wait_until("it is known", lambda: greeted(relay, "198.51.100.66") == 554 or None)
    assert greeted(relay, address) == 220
    assert relay.command("ban", "remove", "0.0.0.0/0").returncode == 0
    assert wait_until("it is over", lambda: greeted(relay, "198.51.100.66") == 220 or None)


def test_every_downgrade_is_on_record_as_such(relay, site):
    with Proxied(relay.ports["public"], "192.0.2.70") as smtp:
        smtp.ehlo("client.strange.example")
        assert smtp.mail("a@strange.example")[0] == 530
    record = relay.wait_for_audit(kind="refusal", peer_address="192.0.2.70")
    assert record["downgrades"] == ["plaintext"]

    def handshake(version):
        context = site.context()
        context.minimum_version = context.maximum_version = version
        with Proxied(relay.ports["public"], "192.0.2.71") as smtp:
            smtp.ehlo("client.strange.example")
            smtp.starttls(context=context)
            smtp.ehlo("client.strange.example")

    def downgrades():
        found = relay.audit(kind="handshake", peer_address="192.0.2.71")
        return [each.get("downgrades", []) for each in found]

    handshake(ssl.TLSVersion.TLSv1_3)
    handshake(ssl.TLSVersion.TLSv1_2)
    handshake(ssl.TLSVersion.TLSv1_3)
    assert downgrades() == [[], ["weaker"], []]


def test_a_score_can_be_looked_at_and_cleared(relay, site):
    address = "192.0.5.66"
    smuggle(relay, site, address)

    def known():
        done = relay.command("reputation", "show", address, "--json")
        assert done.returncode == 0
        (found,) = json.loads(done.stdout)
        return found

    assert wait_until("it is noted", lambda: known()["score"] < 0)
    found = known()
    assert (found["kind"], found["name"], found["half_life"]) == ("network", "192.0.5.0/24", "3s")
    assert [each["rule"] for each in found["rules"]] == ["reputation_network"]
    assert relay.command("reputation", "clear", address).returncode == 0
    assert known()["score"] == 0
    assert relay.command("reputation", "clear", address).returncode == 1
    record = relay.wait_for_audit(kind="admin", action="reputation.clear")
    assert record["target"] == "network 192.0.5.0/24"


REJECTED = """
[[limit]]
name = "network_rejected_commands"
rate = ["5/1h"]
"""


def test_who_has_too_many_commands_rejected_is_not_spoken_to_for_a_while(relay, site):
    (relay.folder / "rules.toml").write_text(REJECTED)
    relay.reload()
    address = "198.51.100.9"
    with Proxied(relay.ports["public"], address) as smtp:
        for _ in range(6):
            assert smtp.docmd("FEED ME")[0] == 500
    assert wait_until("it is turned away", lambda: greeted(relay, address) == 421 or None)
    record = relay.wait_for_audit(kind="refusal", rule="rate_connections", peer_address=address)
    assert record["facts"]["rate.connect_limit"] == "network_rejected_commands"
    assert greeted(relay, "198.51.101.9") == 220


def known(relay, *subjects):
    async def ask():
        store = SqliteStore.open(relay.state, timedelta(seconds=5))
        found = await store.scores(subjects, time.time())
        await store.close()
        return found

    return asyncio.run(ask())


def test_an_identity_answers_for_itself_and_not_its_network(relay, site):
    context = site.context(site.pinned)
    for sender, code in [(SENDER, 250), (SENDER, 250), ("ceo@strange.example", 550)]:
        assert clients.send(relay.port, context, sender=sender).code == code
    subjects = ("credit/identity/acme-billing", "debit/identity/acme-billing")
    wait_until("both sides are noted", lambda: all(known(relay, *subjects)))
    credit, debit = known(relay, *subjects)
    assert 0.39 < credit <= 0.4
    assert 1.9 < debit <= 2.0
    assert known(relay, "credit/sender/acme.example")[0] > 0.3
    assert known(relay, "debit/network/127.0.0.0/24") == [0.0]


def test_a_failed_handshake_with_an_old_offer_is_a_downgrade_too(relay):
    offer = in_records(client_hello(legacy=0x0301, ciphers=(0xC014, 0x5600)))
    with Proxied(relay.ports["public"], "192.0.2.72") as smtp:
        smtp.ehlo("client.strange.example")
        assert smtp.docmd("STARTTLS")[0] == 220
        smtp.sock.sendall(offer)
        assert smtp.sock.recv(100)[:1] == b"\x15", "a TLS alert"
    record = relay.wait_for_audit(kind="handshake", peer_address="192.0.2.72")
    assert record["downgrades"] == ["old_version", "fallback"]
    assert record["tls_offered"] == "TLSv1.0"
