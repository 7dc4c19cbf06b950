"""What is said of the client's identity."""

from datetime import timedelta
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from relay.checks import identity
from relay.model import (
    Address,
    Endpoint,
    Identity,
    Recipient,
    Sender,
    Tier,
    TrustDecision,
    TrustStatus,
)
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import tools
from tests.kit.clock import FakeClock

ACME = Identity(
    name="acme",
    senders=("@acme.example",),
    recipients=("@example.org",),
    networks=(ip_network("192.0.2.0/24"),),
    tier=Tier.TRUSTED,
)
OURS, OTHERS = Address("a", "acme.example"), Address("b", "bank.example")
clock = FakeClock()


def report(stage, who=ACME, **known):
    case = Case(**({"peer": Endpoint("192.0.2.1", 25), "listener": "x", "identity": who} | known))
    wanted = frozenset(fact.name for fact in identity.FACTS if fact.stage is stage)
    return identity.build(identity.Settings(), tools(clock=clock)).report(case, stage, wanted)


def test_nobody():
    assert report(Stage.HELLO, None) == {
        "identity.known": False,
        "identity.name": "",
        "identity.tier": "",
        "identity.status": "",
        "identity.age_days": 0,
        "identity.may_connect": True,
    }


def test_only_what_is_asked_for_is_found_out():
    case = Case(Endpoint("192.0.2.1", 25), "x", identity=ACME)
    check = identity.build(identity.Settings(), tools(clock=clock))
    assert check.report(case, Stage.HELLO, frozenset({"identity.name"})) == {
        "identity.name": "acme"
    }


def test_somebody():
    decision = TrustDecision(TrustStatus.NAMED, ACME, "")
    told = report(Stage.HELLO, decision=decision)
    assert told["identity.known"] is True
    assert (told["identity.name"], told["identity.tier"]) == ("acme", "trusted")
    assert told["identity.status"] == "named"


def test_a_stranger_whose_certificate_was_looked_at():
    told = report(Stage.HELLO, None, decision=TrustDecision(TrustStatus.UNPINNED, None, ""))
    assert (told["identity.known"], told["identity.status"]) == (False, "unpinned")


@pytest.mark.parametrize(
    ("since", "certified", "days"),
    [
        (timedelta(days=2, hours=23), None, 2),
        (timedelta(days=2), timedelta(days=400), 2),
        (None, timedelta(days=400), 400),
        (timedelta(days=-1), None, 0),
        (None, None, 0),
    ],
)
def test_its_age(since, certified, days):
    now = clock.now()
    who = Identity(name="x", not_before=since and now - since)
    leaf = SimpleNamespace(not_before=now - (certified or timedelta()))
    tls = SimpleNamespace(certificates=(leaf,) if certified else ())
    assert report(Stage.HELLO, who, tls=tls)["identity.age_days"] == days


@pytest.mark.parametrize(
    ("address", "who", "allowed"),
    [
        ("192.0.2.9", ACME, True),
        ("198.51.100.1", ACME, False),
        ("/run/x.sock", ACME, False),
        ("198.51.100.1", Identity(name="free"), True),
        ("198.51.100.1", None, True),
    ],
)
def test_where_from(address, who, allowed):
    assert report(Stage.HELLO, who, peer=Endpoint(address, 0))["identity.may_connect"] is allowed


@pytest.mark.parametrize(
    ("who", "sender", "allowed"),
    [
        (ACME, OURS, True),
        (ACME, OTHERS, False),
        (ACME, None, True),
        (Identity(name="free"), OTHERS, True),
        (None, OTHERS, True),
    ],
)
def test_as_whom(who, sender, allowed):
    told = report(Stage.SENDER, who, sender=Sender(sender))
    assert told == {"identity.may_send": allowed}


@pytest.mark.parametrize(
    ("who", "recipient", "allowed"),
    [
        (ACME, Address("x", "example.org"), True),
        (ACME, OTHERS, False),
        (ACME, Address("postmaster", ""), True),
        (None, OTHERS, True),
    ],
)
def test_to_whom(who, recipient, allowed):
    told = report(Stage.RECIPIENT, who, recipient=Recipient(recipient))
    assert told == {"identity.may_reach": allowed}


@pytest.mark.parametrize(
    ("who", "authors", "allowed"),
    [
        (ACME, (OURS,), True),
        (ACME, (OURS, OTHERS), False),
        (ACME, (), False),
        (ACME, None, False),
        (Identity(name="list", senders=("@acme.example",), header_from="any"), None, True),
        (Identity(name="free"), None, True),
        (None, None, True),
    ],
)
def test_in_whose_name(who, authors, allowed):
    told = report(Stage.MESSAGE, who, authors=authors)
    assert told["identity.may_write"] is allowed
    assert told["identity.authors"] == tuple(map(str, authors or ()))
