"""What an identity may do: each rule with what keeps it and what breaks it."""

from ipaddress import ip_network

import pytest

from relay.model import Address, Endpoint, Identity, Recipient, Sender
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import tools
from tests.kit.policy import engine_of, verdict_on

ACME = Identity(
    name="acme-billing",
    pins=("spki:sha256:" + "0" * 64,),
    senders=("@acme.example",),
    recipients=("@example.org",),
    networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
)
FREE = Identity(name="free", pins=("spki:sha256:" + "1" * 64,))
HERE = Endpoint("192.0.2.7", 1025)
BILLING = Address("billing", "acme.example")
EVIL = Address("ceo", "bank.example")


def facts(identity=ACME, peer=HERE, **known):
    return Case(peer=peer, listener="partners", identity=identity, **known)


KEPT = [
    ("own network", Stage.SENDER, facts()),
    ("own IPv6 network", Stage.SENDER, facts(peer=Endpoint("2001:db8::7", 25))),
    ("IPv4 mapped into IPv6", Stage.SENDER, facts(peer=Endpoint("::ffff:192.0.2.7", 25))),
    ("own domain", Stage.SENDER, facts(sender=Sender(BILLING))),
    ("domain in capitals", Stage.SENDER, facts(sender=Sender(Address("x", "ACME.example")))),
    ("the null sender", Stage.SENDER, facts(sender=Sender(None))),
    ("allowed recipient", Stage.RECIPIENT, facts(recipient=Recipient(Address("a", "example.org")))),
    ("own author", Stage.MESSAGE, facts(authors=(BILLING,))),
    ("no identity", Stage.SENDER, facts(identity=None, sender=Sender(EVIL))),
    ("no limits", Stage.SENDER, facts(identity=FREE, sender=Sender(EVIL))),
    ("no limits, no From", Stage.MESSAGE, facts(identity=FREE, authors=None)),
]
BROKEN = [
    ("foreign network", Stage.SENDER, facts(peer=Endpoint("198.51.100.1", 25)), "identity_network"),
    ("Unix socket", Stage.SENDER, facts(peer=Endpoint("/run/x.sock", 0)), "identity_network"),
    ("foreign sender", Stage.SENDER, facts(sender=Sender(EVIL)), "identity_sender"),
    (
        "a subdomain is another domain",
        Stage.SENDER,
        facts(sender=Sender(Address("x", "sub.acme.example"))),
        "identity_sender",
    ),
    (
        "a longer domain",
        Stage.SENDER,
        facts(sender=Sender(Address("x", "acme.example.evil.example"))),
        "identity_sender",
    ),
    (
        "foreign recipient",
        Stage.RECIPIENT,
        facts(recipient=Recipient(EVIL)),
        "identity_recipient",
    ),
    ("foreign author", Stage.MESSAGE, facts(authors=(EVIL,)), "identity_author"),
    ("one foreign author of two", Stage.MESSAGE, facts(authors=(BILLING, EVIL)), "identity_author"),
    ("unreadable From", Stage.MESSAGE, facts(authors=None), "identity_author"),
    ("empty From", Stage.MESSAGE, facts(authors=()), "identity_author"),
]


@pytest.mark.parametrize(("stage", "known"), [c[1:] for c in KEPT], ids=[c[0] for c in KEPT])
def test_compliant(stage, known):
    assert verdict_on(engine_of(), stage, known, tools()).is_compliant


@pytest.mark.parametrize(
    ("stage", "known", "rule"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_in_breach(stage, known, rule):
    verdict = verdict_on(engine_of(), stage, known, tools())
    assert verdict.rule == rule
    assert (verdict.reply.code, verdict.reply.enhanced) == (550, "5.7.1")
    assert "acme-billing" in verdict.reply.text


def test_header_from_any_frees_the_author_but_not_the_sender():
    identity = Identity(name="list", senders=("@lists.example",), header_from="any")
    author, sender = (
        facts(identity=identity, authors=(EVIL,)),
        facts(identity=identity, sender=Sender(EVIL)),
    )
    assert verdict_on(engine_of(), Stage.MESSAGE, author, tools()).is_compliant
    assert not verdict_on(engine_of(), Stage.SENDER, sender, tools()).is_compliant
