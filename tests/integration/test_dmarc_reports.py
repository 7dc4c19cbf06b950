"""Reports and seals through the real binary: what was seen is told who asks for it, and foreign programs read our seal."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from relay.dmarc_reports.ledger import Ledger
from relay.dmarc_reports.reporter import day_of
from relay.mailauth.dmarc_report import Observation, Published
from tests.kit import mailauth
from tests.kit.clients import Proxied, transact
from tests.kit.dkim import pem, record, rsa_key, verified
from tests.kit.dmarc_report import read_report
from tests.kit.dns_server import DnsServer
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.site import with_public_listener

ZONES = {
    "reject.example": {"TXT": "v=spf1 ip4:192.0.2.1 ~all"},
    "_dmarc.reject.example": {"TXT": "v=DMARC1; p=reject; rua=mailto:reports@reject.example"},
    "s1._domainkey.edge.example": {"TXT": record(rsa_key())},
}
ROW = Observation(
    "192.0.2.1", "none", "fail", "pass", "", "reject.example", "reject.example", "reject.example",
    "pass", (),
)  # fmt: skip
POLICY = Published(
    "reject.example", "reject", "", "", "r", "r", "n", "0", (("reports@reject.example", None),)
)


@pytest.fixture(scope="module")
def dns():
    with DnsServer(ZONES) as running:
        yield running


def settings_with(site, upstream, dns, folder, *, use, **more):
    key = folder / "s1.key"
    key.write_bytes(pem(rsa_key()))
    key.chmod(0o600)
    settings = site.settings(
        upstream.port,
        dns={"servers": [dns.address]},
        dkim={"key": [{"domain": "edge.example", "selector": "s1", "key": str(key), "use": use}]},
        **more,
    )
    return with_public_listener(settings)


def send(relay, site, address, sender="a@reject.example"):
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    content = (
        f"From: {sender}\r\nTo: user@dest.example\r\nSubject: Dinner\r\nDate: {date}\r\n"
        "Message-ID: <1@reject.example>\r\n\r\nHi.\r\n"
    ).encode()
    with Proxied(relay.ports["public"], address) as smtp:
        smtp.starttls(context=site.context())
        smtp.ehlo("mx.reject.example")
        return transact(smtp, content, sender)


def rows_in(path):
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT observation, count FROM observed").fetchall()
    return {
        (row[0], row[1], row[2], row[3]): count
        for row, count in ((json.loads(text), n) for text, n in found)
    }


def test_what_was_seen_is_counted_by_all_workers_and_outlives_a_restart(
    site, own_upstream, dns, tmp_path
):
    settings = settings_with(
        site, own_upstream, dns, tmp_path, use=["author"],
        dmarc_reports={"enabled": True, "sender": "dmarc@edge.example"},
    )  # fmt: skip
    relay = RelayProcess(tmp_path, settings, site.allowlist())
    path = relay.state / "dmarc_reports.sqlite"
    for _ in range(2):
        with relay:
            for _ in range(3):
                assert send(relay, site, "192.0.2.1").code == 250
            assert send(relay, site, "192.0.2.99").code == 550
    expected = {
        ("192.0.2.1", "pass", "fail", "pass"): 6,
        ("192.0.2.99", "reject", "fail", "fail"): 2,
    }
    assert wait_until("all is counted", lambda: rows_in(path) == expected)


def test_a_day_that_is_over_is_reported(site, own_upstream, dns, tmp_path):
    settings = settings_with(
        site, own_upstream, dns, tmp_path, use=["author"],
        dmarc_reports={"enabled": True, "sender": "dmarc@edge.example"},
    )  # fmt: skip
    relay = RelayProcess(tmp_path, settings, site.allowlist())
    relay.state.mkdir(exist_ok=True)
    ledger = Ledger(relay.state / "dmarc_reports.sqlite")
    ledger.add(day_of(datetime.now(UTC)) - 1, json.loads(json.dumps([(POLICY, ROW, 42)])))
    ledger.close()
    with relay:
        (stored,) = wait_until(
            "the report", lambda: own_upstream.received("reports@reject.example")
        )
    assert stored.sender == "dmarc@edge.example"
    mail = message_from_bytes(stored.content, policy=default)
    (file,) = mail.iter_attachments()
    (count,) = read_report(file.get_content()).iterfind(".//{*}count")
    assert count.text == "42"
    (signature,) = verified(stored.content, ZONES, now=datetime.now(UTC))
    assert (signature.result.value, signature.domain) == ("pass", "edge.example")


def test_a_seal_is_read_by_others(site, own_upstream, dns, tmp_path):
    settings = settings_with(site, own_upstream, dns, tmp_path, use=["seal"])
    with RelayProcess(tmp_path, settings, site.allowlist()) as relay:
        assert send(relay, site, "192.0.2.1").code == 250
    (stored,) = own_upstream.messages
    results = message_from_bytes(stored.content)["ARC-Authentication-Results"]
    assert results.startswith("i=1; edge.example;")
    assert "dmarc=pass header.from=reject.example" in results
    records = {"s1._domainkey.edge.example": record(rsa_key())}
    (judged,) = mailauth.ask([mailauth.verify(stored.content, records)])
    assert judged["arc"] == "pass"
