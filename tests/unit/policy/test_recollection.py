"""What follows from a record is what the checks said then: case by case, by way of the record."""

import asyncio
import json

import pytest

from relay import catalogue
from relay.inbound import evidence
from relay.model import Address, Endpoint, Identity, Recipient, Sender, TlsFacts
from relay.policy.case import Case
from relay.policy.check import Tools, WaitingCheck
from relay.policy.facts import Missing, Stage
from relay.policy.recollection import Decision, remember
from relay.smtp.replies import Reply
from tests.kit.clock import FakeClock

REPLY = Reply(550, "5.7.1", ("No (ref X)",))
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519MLKEM768", resumed=True)
CASES = {
    "ordinary": ("192.0.2.1", "MX.acme.example.", TLS, Address("a", "Acme.Example"), "acme"),
    "mapped": ("::ffff:192.0.2.1", "mx", TLS, Address("a", "xn--strae-oqa.example"), ""),
    "IPv6": ("2001:db8::1", "[192.0.2.1]", TLS, Address('"a@b"', "[192.0.2.9]"), ""),
    "socket": ("/run/gatepost.sock", "x.example", TLS, None, ""),
    "TLS 1.2": ("10.0.0.1", "x.example", TlsFacts("TLSv1.2", "C", 128, "", resumed=False), None, "b"),
    "no domain": ("127.0.0.1", "x.example", TLS, Address("postmaster", ""), ""),
    "UTF-8": ("192.0.2.1", "x.example", TLS, Address("ü", "bücher.example."), ""),
}  # fmt: skip


def reported(case, stage):
    """What checks that need nothing of the world report."""
    tools = Tools("edge.example", FakeClock(), None, None, None)
    settings = catalogue.settings_type().model_fields["checks"].default
    checks = catalogue.build_checks(settings, tools)
    found = {}
    for name in ("listener", "peer", "hello", "tls", "identity", "sender", "recipient"):
        check = checks[name]
        declared = [f for f in catalogue.facts().values() if f.name.startswith(f"{name}.")]
        for each in list(Stage)[: list(Stage).index(stage) + 1]:
            wanted = frozenset(fact.name for fact in declared if fact.stage is each)
            if wanted and isinstance(check, WaitingCheck):
                found |= asyncio.run(check.gather(case, each, frozenset()))  # no DNS
            elif wanted:
                found |= check.report(case, each, wanted)
    return found


@pytest.mark.parametrize("name", CASES)
def test_what_follows_from_a_refusal_is_what_checks_said(name):
    address, hello, tls, sender, identity = CASES[name]
    case = Case(
        Endpoint(address, 25),
        "partners",
        identity=Identity(identity) if identity else None,
        tls=tls,
        hello=hello,
        sender=Sender(sender),
        recipient=Recipient(sender or Address("x", "Dest.Example")),
    )
    record = evidence.refusal(case, REPLY, "rule") | {"stage": "recipient", "kind": "refusal"}
    past = remember(json.loads(json.dumps(record)), {}.get)
    said = reported(case, Stage.RECIPIENT)
    assert [stage for stage, _ in past.stages] == ["connect", "hello", "sender", "recipient"]
    _, known = past.stages[-1]
    assert {
        "listener.name",
        "sender.domain",
        "recipient.local",
        "peer.network",
        "hello.name",
    } <= known.keys()
    assert {name: said[name] for name in known} == known
    assert past.decision == Decision("rule", 550)


def test_recorded_facts_come_back_as_they_were():
    facts = {"dnsbl.lists": ["a", "b"], "spf.result": {"missing": "silent"}, "dnsbl.score": 0.0}
    record = {"kind": "refusal", "stage": "sender", "rule": "r", "reply": "451 x", "facts": facts}
    ((_, known), *_) = remember(record, {}.get).stages
    assert known["dnsbl.lists"] == ("a", "b")
    assert known["spf.result"] == Missing("silent")
    assert type(known["dnsbl.score"]) is float


def test_each_recipient_has_its_own_facts():
    record = {
        "kind": "transaction",
        "recipients": ["a@x.example", "b@y.example"],
        "facts": {"recipient.domain": "y.example"},  # asked for by the rules about the message
        "recipient_facts": [{"identity.may_reach": True}, {"identity.may_reach": False}],
    }
    own = [facts for stage, facts in remember(record, {}.get).stages if stage is Stage.RECIPIENT]
    assert [facts["recipient.domain"] for facts in own] == ["x.example", "y.example"]
    assert [facts["identity.may_reach"] for facts in own] == [True, False]
    assert [facts["recipient.earlier"] for facts in own] == [0, 1]


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "handshake"},
        {"kind": "admin", "stage": "sender"},
        {"kind": "refusal", "rule": "next_hop"},
        {"kind": "refusal", "rule": "trust", "facts": {}},
    ],
)
def test_what_no_rule_has_decided_is_no_case(record):
    assert remember(record, {}.get) is None
