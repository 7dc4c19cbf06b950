"""SPF through the real binary, over a name server of the test's own: reply, rule, and what is on record."""

import pytest

from tests.kit import clients
from tests.kit.clients import Proxied
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.relay_process import RelayProcess
from tests.kit.site import RECIPIENT, with_public_listener

ZONES = {
    "strict.example": {"TXT": "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"},
    "soft.example": {"TXT": "v=spf1 ip4:192.0.2.0/24 ~all"},
    "wrong.example": {"TXT": "v=spf1 wrong"},
    "broken.example": {"TXT": "v=spf1 -all"},
    "silent.example": {"TXT": "v=spf1 -all"},
    "client.strict.example": {"TXT": "v=spf1 ip4:192.0.2.1 -all"},
    "acme.example": {"TXT": "v=spf1 -all"},
}


@pytest.fixture(scope="module")
def zones():
    with DnsServer(ZONES) as running:
        running.faults["broken.example"] = (Fault.SERVFAIL,)
        running.faults["silent.example"] = (Fault.SILENT,)
        yield running


@pytest.fixture(scope="module")
def relay(zones, site, upstream, tmp_path_factory):
    settings = site.settings(
        upstream.port, dns={"servers": [zones.address], "timeout": "200ms", "attempts": 2}
    )
    with_public_listener(settings)
    with RelayProcess(tmp_path_factory.mktemp("relay"), settings, site.allowlist()) as running:
        yield running


def send(relay, site, sender, address, certificate=None):
    with Proxied(relay.ports["public"], address) as smtp:
        smtp.ehlo("client.strict.example")
        smtp.starttls(context=site.context(certificate))
        smtp.ehlo("client.strict.example")
        return clients.transact(smtp, clients.MESSAGE, sender, [RECIPIENT])


REFUSALS = [
    ("198.51.100.1", "bob@strict.example", 550, "5.7.23 strict.example does not let 198.51.100.1 send its mail (SPF: -all)", "spf_fail"),
    ("2001:db9::1", "bob@strict.example", 550, "5.7.23 strict.example does not let 2001:db9::1 send", "spf_fail"),
    ("192.0.2.2", "", 550, "5.7.23 client.strict.example does not let 192.0.2.2 send", "spf_fail"),
    ("192.0.2.1", "bob@broken.example", 451, "4.7.24 What broken.example says of 192.0.2.1", "spf_temperror"),
    ("192.0.2.1", "bob@silent.example", 451, "4.7.24 What silent.example says of 192.0.2.1", "spf_temperror"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "sender", "code", "text", "rule"), REFUSALS)
def test_who_may_not_send_for_a_domain_is_refused(relay, site, address, sender, code, text, rule):  # noqa: PLR0917  a table
    answer = send(relay, site, sender, address)
    assert answer.code == code
    assert answer.text.startswith(text)
    record = relay.wait_for_audit(kind="refusal", reference=answer.reference)
    assert record["rule"] == rule
    assert record["facts"]["spf.result"] == ("fail" if code == 550 else "temperror")


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("192.0.2.1", "bob@strict.example"),
        ("2001:db8::1", "bob@strict.example"),
        ("192.0.2.1", ""),
        ("198.51.100.1", "bob@soft.example"),
        ("198.51.100.1", "bob@wrong.example"),
        ("198.51.100.1", "bob@nothing.example"),
        ("198.51.100.1", "bob@[198.51.100.1]"),
    ],
)
def test_who_may_or_of_whom_nothing_is_known_passes(relay, site, address, sender):
    assert send(relay, site, sender, address).code == 250


def test_an_identified_sender_is_not_asked_about(relay, site, zones):
    answer = send(relay, site, "billing@acme.example", "198.51.100.1", site.pinned)
    assert answer.code == 250
    assert "acme.example" not in {name for _, name, _ in zones.asked}
