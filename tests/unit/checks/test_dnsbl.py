"""What lists in the DNS say of a client, its name and the sender."""

from __future__ import annotations

import pytest

from relay.checks.dnsbl import Settings, build
from relay.policy.facts import Stage
from tests.kit.checks import ask, case, tools
from tests.kit.zones import FakeResolver

ZONES = {
    "2.0.0.127.ip.example": {"A": "127.0.0.2"},
    "99.2.0.192.ip.example": {"A": "127.0.0.4", "TXT": "open proxy, see https://ip.example/"},
    "2.0.0.127.white.example": {"A": "127.0.0.2"},
    "99.2.0.192.white.example": {"A": "127.0.10.3"},
    "test.names.example": {"A": "127.0.1.2"},
    "spam.test.names.example": {"A": "127.0.1.2"},
    "bad-sender.example.names.example": {"A": "127.0.1.2"},
}
SETTINGS = Settings(
    list=[
        {"zone": "ip.example", "weight": 3},
        {"zone": "white.example", "weight": -1},
        {"zone": "names.example", "about": "hello", "weight": 2},
        {"zone": "names.example", "about": "sender", "weight": 4},
    ]
)


def facts(about, stage, *names, resolver=None, settings=SETTINGS):
    check = build(settings, tools(resolver or ZONES))
    return ask(check, about, stage, *(f"dnsbl.{name}" for name in names))


def test_a_listed_client():
    found = facts(
        case("192.0.2.99"),
        Stage.CONNECT,
        "listed", "allowed", "score", "lists", "reasons", "unanswered",
    )  # fmt: skip
    assert found == {
        "dnsbl.listed": True,
        "dnsbl.allowed": True,
        "dnsbl.score": 2.0,
        "dnsbl.lists": ("ip.example",),
        "dnsbl.reasons": ("ip.example: open proxy, see https://ip.example/",),
        "dnsbl.unanswered": (),
    }


def test_a_client_that_nobody_lists():
    found = facts(case("192.0.2.1"), Stage.CONNECT, "listed", "allowed", "score", "reasons")
    assert list(found.values()) == [False, False, 0.0, ()]


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.2.3", "fd00::1", "/run/gatepost.sock"])
def test_clients_of_our_own_side_are_not_looked_up(peer):
    resolver = FakeResolver(ZONES)
    assert facts(case(peer), Stage.CONNECT, "score", resolver=resolver) == {"dnsbl.score": 0.0}
    assert resolver.asked == []


def test_reasons_are_asked_for_only_if_wanted():
    resolver = FakeResolver(ZONES)
    facts(case("192.0.2.99"), Stage.CONNECT, "listed", resolver=resolver)
    assert "TXT" not in {kind for _, kind in resolver.asked}


@pytest.mark.parametrize(
    ("hello", "score"),
    [
        ("spam.test", 2.0),
        ("mail.spam.test", 2.0),
        ("mx.example.org", 0.0),
        ("[192.0.2.99]", 0.0),
        ("localhost", 0.0),
        ("", 0.0),
    ],
)
def test_the_hello_name(hello, score):
    found = facts(case(hello=hello), Stage.HELLO, "hello_listed", "hello_score")
    assert found == {"dnsbl.hello_listed": score > 0, "dnsbl.hello_score": score}


@pytest.mark.parametrize(
    ("sender", "score"),
    [
        ("a@bad-sender.example", 4.0),
        ("a@sub.BAD-sender.example", 4.0),
        ("a@good.example", 0.0),
        ("a@[192.0.2.99]", 0.0),
        ("", 0.0),
    ],
)
def test_the_domain_of_the_sender(sender, score):
    found = facts(case(sender=sender), Stage.SENDER, "sender_listed", "sender_score")
    assert found == {"dnsbl.sender_listed": score > 0, "dnsbl.sender_score": score}


def test_without_lists_nobody_is_asked():
    resolver = FakeResolver(ZONES)
    found = facts(
        case("192.0.2.99"), Stage.CONNECT, "listed", resolver=resolver, settings=Settings()
    )
    assert found == {"dnsbl.listed": False}
    assert resolver.asked == []


def test_the_settings_are_written_as_they_were_read():
    written = Settings(list=[{"zone": "A.example.", "answers": ["127.0.0.[2..4]"]}]).model_dump()
    assert written["list"][0]["zone"] == "a.example"
    assert written["list"][0]["answers"] == ("127.0.0.[2..4]",)
