"""The next hop breaks: every client gets one 4xx, and 250 only for what the next hop has taken."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE
from tests.kit.relay_process import free_port, wait_until
from tests.kit.upstream import Script, Upstream

QUICK = {
    "connect_timeout": "2s",
    "command_timeout": "2s",
    "data_timeout": "2s",
    "final_timeout": "2s",
}
BIG = MESSAGE + (b"x" * 78 + b"\r\n") * 20_000

UNTIL_TAKEN = ["banner", "ehlo", "starttls", "mail", "rcpt", "data", "body", "final"]


@pytest.fixture
def relay(own_upstream, start_relay):
    return start_relay(own_upstream.port, route=QUICK)


def is_temporary(answer):
    return 400 <= answer.code < 500


@pytest.mark.parametrize("phase", UNTIL_TAKEN)
def test_a_next_hop_killed_before_it_has_the_message(phase, site, own_upstream, start_relay):
    own_upstream.script.cut = {phase}
    relay = start_relay(own_upstream.port, route=QUICK)
    answer = clients.send(relay.port, site.context(site.pinned), BIG)
    assert is_temporary(answer), answer
    assert not own_upstream.messages


def test_a_next_hop_killed_after_its_reply(site, relay, own_upstream):
    own_upstream.script.cut = {"answered"}
    answers = [clients.send(relay.port, site.context(site.pinned)).code for _ in range(3)]
    assert answers == [250] * 3
    assert len(own_upstream.messages) == 3


@pytest.mark.parametrize("phase", UNTIL_TAKEN)
def test_a_next_hop_that_is_too_slow(phase, site, own_upstream, start_relay):
    own_upstream.script.delay = {phase: 6}
    relay = start_relay(own_upstream.port, route=QUICK)
    answer = clients.send(relay.port, site.context(site.pinned), BIG)
    assert is_temporary(answer), answer
    assert not own_upstream.messages


def test_a_next_hop_that_is_just_quick_enough(site, relay, own_upstream):
    own_upstream.script.delay = {"rcpt": 0.5, "final": 0.5}
    assert clients.send(relay.port, site.context(site.pinned)).code == 250


def test_a_session_goes_on_after_the_next_hop_is_back(site, relay, own_upstream):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert clients.transact(smtp).code == 250
        own_upstream.stop()
        smtp_answer = clients.transact(smtp, recipients=["new@dest.example"])
        assert is_temporary(smtp_answer), smtp_answer
        smtp.rset()
        own_upstream.start()
        assert clients.transact(smtp).code == 250
        smtp.quit()
    assert len(own_upstream.messages) == 2


def test_an_absent_next_hop_is_a_451(site, start_relay):
    relay = start_relay(free_port(), route=QUICK)
    answer = clients.send(relay.port, site.context(site.pinned))
    assert answer.code == 451
    assert answer.text.startswith("4.4.1")


@pytest.mark.parametrize(
    ("phase", "reply"),
    [
        ("final", "452 4.3.1 disk full"),
        ("final", "554 5.7.1 looks like spam"),
        ("mail", "451 4.7.1 greylisted"),
        ("rcpt", "450 4.2.0 mailbox busy"),
        ("data", "451 4.3.0 not now"),
    ],
)
def test_the_next_hops_own_words_are_passed_on(phase, reply, site, relay, own_upstream):
    own_upstream.script.replies = {phase: reply}
    answer = clients.send(relay.port, site.context(site.pinned))
    assert f"{answer.code} {answer.text}".startswith(reply)
    assert not own_upstream.messages


def test_a_next_hop_without_tls_gets_nothing(site, start_relay, own_upstream):
    own_upstream.script.replies = {"ehlo": "250-plain.example\n250 SIZE 1000000"}
    relay = start_relay(own_upstream.port, route=QUICK)
    assert is_temporary(clients.send(relay.port, site.context(site.pinned)))
    assert not any(line.startswith("MAIL") for line in own_upstream.commands)


def test_an_impostor_gets_nothing(site, start_relay):
    with Upstream(*site.impostor) as impostor:
        relay = start_relay(impostor.port, route=QUICK)
        assert is_temporary(clients.send(relay.port, site.context(site.pinned)))
        assert not any(line.startswith("MAIL") for line in impostor.commands)


def test_the_second_host_steps_in(site, own_upstream, start_relay):
    relay = start_relay(free_port(), own_upstream.port, route=QUICK)
    assert clients.send(relay.port, site.context(site.pinned)).code == 250
    assert len(own_upstream.messages) == 1


def test_the_next_hop_sees_our_client_certificate(site, start_relay):
    ours = {"chain": str(site.unpinned.chain), "key": str(site.unpinned.key)}
    with Upstream(*site.mx, Script(client_ca=site.ca)) as strict:
        relay = start_relay(strict.port, route={"client_certificate": ours})
        assert clients.send(relay.port, site.context(site.pinned)).code == 250
        assert strict.messages[0].client == "other.acme.example"


def test_killed_under_load_nothing_is_lost_or_made_up(site, relay, own_upstream):
    """Each message has its own id: what was acknowledged lies at the next hop, once."""
    context = site.context(site.pinned)
    killed = threading.Event()

    def send_some(client):
        outcomes = []
        for number in range(30):
            name = b"<%d.%d@acme.example>" % (client, number)
            content = MESSAGE.replace(b"<4711@acme.example>", name)
            outcomes.append((name, clients.send(relay.port, context, content).code))
            if client == 0 and number == 10:
                own_upstream.stop()
                own_upstream.start()
                killed.set()
        return outcomes

    with ThreadPoolExecutor(6) as pool:
        outcomes = [outcome for each in pool.map(send_some, range(6)) for outcome in each]
    assert killed.is_set()
    assert all(code == 250 or 400 <= code < 500 for _, code in outcomes), outcomes
    acknowledged = {name for name, code in outcomes if code == 250}
    stored = [
        m.content.partition(b"Message-ID: ")[2].split(b"\r\n")[0] for m in own_upstream.messages
    ]
    assert acknowledged <= set(stored)
    assert len(stored) == len(set(stored))
    assert len(acknowledged) > 100


def test_the_log_says_when_a_next_hop_fails_and_when_it_is_back(site, start_relay, tmp_path):
    port = free_port()
    relay = start_relay(port, route=QUICK)
    wait_until(relay.log, lambda: "next hop fails" in relay.log())
    assert f"127.0.0.1:{port}" in relay.log()
    upstream = Upstream(site.mx.chain, site.mx.key, port=port).start()
    try:
        wait_until(
            relay.log,
            lambda: clients.send(relay.port, site.context(site.pinned)).code == 250,
        )
        wait_until(relay.log, lambda: "next hop is back" in relay.log())
    finally:
        upstream.close()
