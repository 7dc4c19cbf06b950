"""Limits through the real binary: as many as a limit says, over all workers, and then when to come again."""

import json
import re
import smtplib
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import clients
from tests.kit.clients import Proxied
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.site import SENDER, with_public_listener

LIMITS = """
[[limit]]
name = "messages"
tier = { verified = ["20/1h"] }

[[limit]]
name = "recipients"
tier = { verified = ["30/1h"] }

[[limit]]
name = "bytes"
count = "bytes"
key = ["identity.name"]
rate = ["20kB/1h"]
"""


@pytest.fixture
def relay(site, upstream, tmp_path):
    (tmp_path / "limits.toml").write_text(LIMITS)
    settings = site.settings(upstream.port, listener={"policy": ["defaults", "limits.toml"]})
    with RelayProcess(tmp_path, settings, site.allowlist()) as running:
        yield running


def send(relay, site, **how):
    return clients.send(relay.port, site.context(site.pinned), **how)


def test_a_limit_of_n_admits_n_over_all_workers(relay, site):
    def answer(_):
        return send(relay, site)

    with ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(answer, range(30)))
    assert sorted(each.code for each in answers) == [250] * 20 + [451] * 10
    refused = next(each for each in answers if each.code == 451)
    told = re.match(r"4\.7\.1 Too much mail \(messages\), try again in (\d+) s", refused.text)
    assert told
    # 20 in an hour: one more each 180 s, and the tests took some of that
    assert 150 <= int(told[1]) <= 180
    record = relay.wait_for_audit(kind="refusal", reference=refused.reference)
    assert record["rule"] == "rate_messages"
    assert record["facts"]["rate.exceeded"] is True
    assert record["facts"]["rate.limit"] == "messages"


def test_recipients_and_bytes_are_counted_each_where_they_come(relay, site):
    many = [f"r{number}@dest.example" for number in range(31)]
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert smtp.mail(SENDER)[0] == 250
        codes = [smtp.rcpt(each)[0] for each in many]
        smtp.rset()
    assert codes == [250] * 30 + [451]
    refused = relay.wait_for_audit(kind="refusal", recipient=many[-1])
    assert refused["rule"] == "rate_recipients"


@pytest.mark.parametrize(
    ("sizes", "codes"),
    [([9_000, 9_000, 9_000], [250, 250, 451]), ([30_000, 9_000], [552, 250])],
    ids=["one after the other", "larger than ever is admitted"],
)
def test_bytes_are_counted_at_the_end_of_a_message(sizes, codes, relay, site):
    answers = [
        send(relay, site, content=clients.MESSAGE + b"0123456789abcdef\r\n" * (size // 18))
        for size in sizes
    ]
    assert [each.code for each in answers] == codes
    last = next(each for each in answers if each.code != 250)
    record = relay.wait_for_audit(kind="refusal", reference=last.reference)
    assert record["rule"] == {451: "rate_bytes", 552: "rate_never"}[last.code]


def test_changed_limits_are_in_force_without_a_restart(relay, site):
    (relay.folder / "limits.toml").write_text(LIMITS.replace('"20/1h"', '"1/1h"'))
    relay.reload()
    assert [send(relay, site).code for _ in range(2)] == [250, 451]


# --- everything that can be counted, of strangers whose connections tell their address ----------------

COUNTED = """
[[limit]]
name = "network_connections"
rate = ["20/1h", "8/1m"]

[[limit]]
name = "network_messages"
tier = { unknown = ["100/1h", "3/1m"] }

[[limit]]
name = "network_handshakes"
count = "handshakes"
key = ["peer.network"]
rate = ["4/1h"]

[[limit]]
name = "each_way"
count = "messages"
key = ["identity.name", "listener.name"]
rate = ["5/1h"]

[[limit]]
name = "strangers"
count = "new_recipients"
key = ["peer.network", "sender.domain"]
rate = ["3/1d"]
"""


@pytest.fixture
def public(site, upstream, tmp_path):
    (tmp_path / "limits.toml").write_text(COUNTED)
    settings = site.settings(upstream.port, listener={"policy": ["defaults", "limits.toml"]})
    with_public_listener(settings)
    with RelayProcess(tmp_path, settings, site.allowlist()) as running:
        yield running


def greeting(relay, address):
    """What an address hears first, as code and text."""
    try:
        Proxied(relay.ports["public"], address).close()
    except smtplib.SMTPConnectError as refused:
        return refused.smtp_code, refused.smtp_error.decode()
    return 220, ""


def under_tls(relay, site, address):
    smtp = Proxied(relay.ports["public"], address)
    smtp.ehlo("mx.strange.example")
    smtp.starttls(context=site.context())
    smtp.ehlo("mx.strange.example")
    return smtp


def test_connections_are_counted_by_network_and_the_smaller_window_decides(public):
    addresses = [f"192.0.2.{number}" for number in range(1, 11)]
    greetings = [greeting(public, each) for each in addresses]
    assert [code for code, _ in greetings] == [220] * 8 + [421] * 2
    text = greetings[-1][1]
    told = re.match(
        r"4\.7\.0 Too much from 192\.0\.2\.0/24 \(network_connections\), try again in (\d+) s", text
    )
    assert told
    assert int(told[1]) <= 8
    assert greeting(public, "192.0.3.1")[0] == 220


def test_handshakes_count_when_they_have_happened(public, site):
    many = COUNTED.replace('"20/1h", "8/1m"', '"9999/1h"')
    (public.folder / "limits.toml").write_text(many)
    public.reload()
    address = "198.51.100.1"
    for _ in range(4):
        under_tls(public, site, address).close()
    refused = wait_until("they are counted", lambda: _refused(greeting(public, address)))
    assert "(network_handshakes)" in refused
    assert greeting(public, "198.51.101.1")[0] == 220


def _refused(answer):
    code, text = answer
    return text if code == 421 else ""


def test_messages_of_strangers_are_counted_by_network_and_not_those_of_identities(public, site):
    with under_tls(public, site, "203.0.113.1") as smtp:
        codes = [clients.transact(smtp, sender="a@strange.example").code for _ in range(4)]
    assert codes == [250, 250, 250, 451]
    with Proxied(public.ports["public"], "203.0.113.2") as smtp:
        smtp.ehlo("client.example")
        smtp.starttls(context=site.context(site.pinned))
        smtp.ehlo("client.example")
        assert [clients.transact(smtp).code for _ in range(4)] == [250] * 4


def test_whom_one_writes_to_for_the_first_time_is_counted_and_others_are_not(public, site):
    def codes(smtp, sender, *names):
        smtp.rset()
        assert smtp.mail(sender)[0] == 250
        return [smtp.rcpt(f"{name}@dest.example")[0] for name in names]

    with under_tls(public, site, "203.0.114.1") as smtp:
        assert codes(smtp, "a@one.example", "a", "b", "a", "c", "b") == [250] * 5
        assert codes(smtp, "b@one.example", "d", "c", "e") == [451, 250, 451]
        assert codes(smtp, "a@two.example", "d") == [250], "another key"
    record = public.wait_for_audit(kind="refusal", recipient="d@dest.example")
    assert record["rule"] == "rate_recipients"
    assert record["facts"]["rate.recipient_limit"] == "strangers"


def test_listeners_count_for_themselves_where_the_key_says_so(public, site):
    def code(smtp):
        smtp.ehlo("client.example")
        return clients.transact(smtp).code

    with Proxied(public.ports["public"], "203.0.115.1") as smtp:
        smtp.ehlo("client.example")
        smtp.starttls(context=site.context(site.pinned))
        assert [code(smtp) for _ in range(6)] == [250] * 5 + [451]
    with clients.session(public.port, site.context(site.pinned)) as smtp:
        assert [code(smtp) for _ in range(6)] == [250] * 5 + [451]


# --- proposals ----------------------------------------------------------------------------------------


def test_limits_are_proposed_from_real_mail_and_can_be_pasted(relay, site):
    for _ in range(3):
        assert send(relay, site, recipients=["a@dest.example", "b@dest.example"]).code == 250
    relay.wait_for_audit(kind="transaction")
    done = relay.command("limits", "suggest", "--since", "1h", "--percentile", "100", "--json")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["messages"] == 3
    found = {(each["name"], each["tier"]): each for each in said["limits"]}
    assert found["messages", "verified"]["busiest"]["hour"] == 3
    assert found["recipients", "verified"]["busiest"]["hour"] == 6
    assert tomllib.loads(said["toml"])["limit"]
    (relay.folder / "limits.toml").write_text(said["toml"])
    relay.reload()
    assert send(relay, site).code == 250
    assert relay.command("check").returncode == 1, (
        "examples of names and addresses, but no mistakes"
    )
