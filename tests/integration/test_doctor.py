"""The relay watches domains: what has changed is on record, measured, and told by mail."""

import signal
from datetime import UTC, datetime

import pytest

from tests.kit.dkim import pem, record, rsa_key, verified, zone
from tests.kit.dns_server import DnsServer
from tests.kit.http_client import ask
from tests.kit.relay_process import RelayProcess, free_port, wait_until

ZONES = {
    "quiet.example": {"TXT": "v=spf1 -all", "MX": "0 ."},
    "_dmarc.quiet.example": {"TXT": "v=DMARC1; p=none; rua=mailto:d@quiet.example"},
}


@pytest.fixture
def dns():
    with DnsServer(ZONES) as running:
        running.ttl = running.negative_ttl = 0
        yield running


def test_a_domain_that_falls_ill_and_recovers(site, own_upstream, dns, tmp_path):
    admin = free_port()
    key = tmp_path / "s1.key"
    key.write_bytes(pem(rsa_key()))
    key.chmod(0o600)
    settings = site.settings(
        own_upstream.port,
        dns={"servers": [dns.address], "min_ttl": "0s"},
        admin={"address": f"127.0.0.1:{admin}"},
        doctor={
            "domains": ["quiet.example"],
            "every": "500ms",
            "mail_to": "ops@dest.example",
            "sender": "d@edge.example",
        },
        dkim={
            "key": [
                {"domain": "edge.example", "selector": "s1", "key": str(key), "use": ["author"]}
            ]
        },
    )
    with RelayProcess(tmp_path, settings, site.allowlist()) as relay:
        first = relay.wait_for_audit(kind="domain", domain="quiet.example")
        assert any("unenforced" in each for each in first["problems"])

        dns.zones["quiet.example"] = {"MX": "0 ."}
        wait_until(
            "the record of a new problem",
            lambda: [
                each
                for each in relay.audit(kind="domain")
                if each.get("problems") == ["spf: there is no SPF record"]
            ],
        )
        found = ask(admin, "GET", "/metrics").body.decode()
        assert 'gatepost_domain_problems{domain="quiet.example"} 3' in found

        dns.zones["quiet.example"] = ZONES["quiet.example"]
        wait_until(
            "the record of a problem that has gone",
            lambda: [
                each
                for each in relay.audit(kind="domain")
                if each.get("cleared") == ["spf: there is no SPF record"]
            ],
        )
        mails = wait_until(
            "three mails",
            lambda: (
                len(own_upstream.received("ops@dest.example")) >= 3
                and own_upstream.received("ops@dest.example")
            ),
        )
        assert b"- spf: there is no SPF record" in mails[2].body
        (signature,) = verified(
            mails[2].content,
            zone(record(rsa_key()), "s1._domainkey.edge.example"),
            now=datetime.now(UTC),
        )
        assert (signature.result.value, signature.domain) == ("pass", "edge.example")


def test_a_rotated_audit_trail_goes_on_in_the_new_file(site, own_upstream, dns, tmp_path):
    settings = site.settings(
        own_upstream.port,
        dns={"servers": [dns.address], "min_ttl": "0s"},
        doctor={"domains": ["quiet.example"], "every": "500ms"},
    )
    with RelayProcess(tmp_path, settings, site.allowlist()) as relay:
        relay.wait_for_audit(kind="domain", domain="quiet.example")  # the old file is open
        trail = relay.state / "audit.jsonl"
        trail.rename(trail.with_suffix(".1"))
        relay.signal(signal.SIGUSR1)
        wait_until("a new file is there", trail.exists)
        dns.zones["quiet.example"] = {"MX": "0 ."}
        relay.wait_for_audit(kind="domain", problems=["spf: there is no SPF record"])
