"""What is said of the name in EHLO."""

from __future__ import annotations

import pytest

from relay.checks.hello import FACTS, Settings, build
from relay.policy.facts import Missing, Stage
from tests.kit.checks import ask, case, tools
from tests.kit.zones import FakeResolver

NAMES = tuple(fact.name.removeprefix("hello.") for fact in FACTS)
ZONES = {
    "mx.example.org": {"A": ["192.0.2.9", "192.0.2.1"], "AAAA": "2001:db8::1"},
    "other.example.org": {"A": "192.0.2.2"},
    "mail-only.example.org": {"MX": "10 mx.example.org"},
    "no-mail.example.org": {"MX": "0 "},
    "text.example.org": {"TXT": "hello"},
}


def true_facts(hello, peer="192.0.2.1", resolver=ZONES):
    """The words of all facts that are true."""
    check = build(Settings(), tools(resolver, hostname="Edge.example.org"))
    found = ask(check, case(peer, hello=hello), Stage.HELLO, *(f"hello.{name}" for name in NAMES))
    return {name for name in NAMES if found[f"hello.{name}"] is True}


@pytest.mark.parametrize(
    ("hello", "peer", "expected"),
    [
        ("mx.example.org", "192.0.2.1", "valid is_fqdn resolves matches"),
        ("MX.Example.Org.", "192.0.2.1", "valid is_fqdn resolves matches"),
        ("mx.example.org", "2001:db8::1", "valid is_fqdn resolves matches"),
        ("mx.example.org", "::ffff:192.0.2.1", "valid is_fqdn resolves matches"),
        ("mx.example.org", "/run/gatepost.sock", "valid is_fqdn resolves"),
        ("other.example.org", "192.0.2.1", "valid is_fqdn resolves"),
        ("mail-only.example.org", "192.0.2.1", "valid is_fqdn resolves"),
        ("no-mail.example.org", "192.0.2.1", "valid is_fqdn"),
        ("text.example.org", "192.0.2.1", "valid is_fqdn"),
        ("missing.example.org", "192.0.2.1", "valid is_fqdn"),
        ("localhost", "192.0.2.1", "valid"),
        ("192.0.2.1", "192.0.2.1", ""),
        ("[192.0.2.1]", "192.0.2.1", "valid literal literal_matches resolves matches"),
        ("[192.0.2.2]", "192.0.2.1", "valid literal resolves"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1", "valid literal literal_matches resolves matches"),
        ("[IPv6:::ffff:192.0.2.1]", "192.0.2.1", "valid literal literal_matches resolves matches"),
        ("[2001:db8::1]", "2001:db8::1", "valid literal resolves"),  # a tagged literal, RFC 5321
        ("[192.0.2]", "192.0.2.1", ""),
        ("[", "192.0.2.1", ""),
        ("", "192.0.2.1", ""),
        ("EDGE.example.ORG", "192.0.2.1", "valid is_fqdn ours"),
        ("a..b", "192.0.2.1", ""),
        ("-a.example", "192.0.2.1", ""),
    ],
)
def test_what_is_true_of_a_name(hello, peer, expected):
    assert true_facts(hello, peer) == set(expected.split())


def test_the_dns_is_asked_only_for_what_needs_it():
    resolver = FakeResolver(ZONES)
    check = build(Settings(), tools(resolver))
    ask(check, case(hello="mx.example.org"), Stage.HELLO, "hello.name", "hello.ours", "hello.valid")
    assert resolver.asked == []
    ask(check, case(hello="mx.example.org"), Stage.HELLO, "hello.matches")
    assert resolver.asked == [("mx.example.org", "A")]
    ask(check, case("2001:db8::1", hello="mx.example.org"), Stage.HELLO, "hello.matches")
    assert resolver.asked[1:] == [("mx.example.org", "AAAA")]


@pytest.mark.parametrize("hello", ["[192.0.2.1]", "localhost", "", "192.0.2.1", "[", "x" * 300])
def test_what_is_no_name_is_never_looked_up(hello):
    resolver = FakeResolver(ZONES)
    true_facts(hello, resolver=resolver)
    assert resolver.asked == []


def test_a_broken_dns_says_nothing():
    check = build(Settings(), tools(FakeResolver(failing=["mx.example.org"])))
    found = ask(check, case(hello="mx.example.org"), Stage.HELLO, "hello.matches", "hello.resolves")
    assert all(isinstance(value, Missing) for value in found.values())


def test_one_answer_is_enough_to_know_that_a_name_resolves():
    resolver = FakeResolver(ZONES, failing=["mx.example.org A"])
    check = build(Settings(), tools(resolver))
    found = ask(check, case(hello="mx.example.org"), Stage.HELLO, "hello.resolves")
    assert found == {"hello.resolves": True}


def test_records_that_are_no_addresses_match_nothing():
    resolver = FakeResolver({"mx.example.org": {"A": ["nonsense"]}})
    assert true_facts("mx.example.org", resolver=resolver) == {"valid", "is_fqdn", "resolves"}


def test_a_fault_of_our_own_is_not_taken_for_an_answer():
    class Broken(FakeResolver):
        async def resolve(self, name, kind):
            raise RuntimeError("a fault of ours")

    check = build(Settings(), tools(Broken()))
    with pytest.raises(RuntimeError):
        ask(check, case(hello="mx.example.org"), Stage.HELLO, "hello.resolves")
