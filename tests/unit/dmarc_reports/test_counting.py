"""What a worker counts of the messages that it judges."""

import asyncio
import json

import pytest

from relay.checks import dkim, dmarc, spf
from relay.dmarc_reports import counting as module
from relay.dmarc_reports.counting import Counting
from relay.policy.facts import Facts, Stage
from tests.kit.checks import case, message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, record, rsa_key, signed

ZONES = {
    "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject; rua=mailto:d@example.org"},
    "example.org": {"TXT": "v=spf1 ip4:192.0.2.1 -all"},
    "s1._domainkey.example.org": {"TXT": record(rsa_key())},
}


@pytest.fixture
def hands():
    made = tools(ZONES, clock=FakeClock(NOW))
    for check in (spf, dkim):
        check.build(check.Settings(), made)
    made.findings["check"] = dmarc.build(dmarc.Settings(), made)
    return made


def judged(hands, message=MESSAGE, peer="192.0.2.1", sender="bob@example.org"):
    about = message_case(message)
    sent = case(peer, hello="mx.example.org", sender=sender)
    about.peer, about.hello, about.sender = sent.peer, sent.hello, sent.sender
    asyncio.run(hands.findings["check"].gather(about, Stage.MESSAGE, frozenset({"dmarc.result"})))
    return about


def test_messages_of_one_kind_are_one_row(hands):
    counting = Counting(hands)
    for _ in range(3):
        counting.note(judged(hands, signed()), Facts(), refused=False)
    ((published, row, count),) = counting.take()
    assert (published.domain, count) == ("example.org", 3)
    assert row == (
        "192.0.2.1", "pass", "pass", "pass", "", "example.org", "example.org", "example.org",
        "pass", (("example.org", "s1", "pass"),),
    )  # fmt: skip
    assert counting.take() == []


def test_signers_are_told_as_the_dns_knows_them(hands):
    zone = {"s1._domainkey.xn--bcher-kva.example": {"TXT": record(rsa_key())}}
    hands.resolver.zones.update(zone)
    counting = Counting(hands)
    counting.note(judged(hands, signed(d="bücher.example")), Facts(), refused=False)
    ((_, row, _),) = counting.take()
    assert row.signatures == (("xn--bcher-kva.example", "s1", "pass"),)


def test_others_are_others(hands):
    counting = Counting(hands)
    counting.note(judged(hands), Facts(), refused=False)
    counting.note(judged(hands, peer="192.0.2.2"), Facts(), refused=True)
    counting.note(judged(hands, peer="192.0.2.2"), Facts({"arc.dmarc": "pass"}), refused=False)
    counting.note(judged(hands, sender=""), Facts(), refused=False)
    rows = [
        (row.source_ip, row.disposition, row.reason, row.envelope_from)
        for _, row, _ in counting.take()
    ]
    assert rows == [
        ("192.0.2.1", "pass", "", "example.org"),
        ("192.0.2.2", "reject", "", "example.org"),
        ("192.0.2.2", "none", "trusted_forwarder", "example.org"),
        ("192.0.2.1", "none", "local_policy", ""),
    ]  # fmt: skip


def test_it_goes_over_the_wire(hands):
    counting = Counting(hands)
    counting.note(judged(hands), Facts(), refused=False)
    assert json.loads(json.dumps(counting.take()))[0][2] == 1


def test_what_nobody_has_asked_is_not_counted(hands):
    counting = Counting(hands)
    counting.note(message_case(MESSAGE), Facts(), refused=False)
    counting.note(judged(hands, peer="/run/gatepost.sock"), Facts(), refused=False)
    counting.note(judged(hands, b"From: a@b.example\r\n\r\n"), Facts(), refused=False)
    assert counting.take() == []


def test_memory_is_bounded(hands, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    counting = Counting(hands)
    for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"):
        counting.note(judged(hands, peer=peer), Facts(), refused=False)
    assert [count for *_, count in counting.take()] == [2, 1]
