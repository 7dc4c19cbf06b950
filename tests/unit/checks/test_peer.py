"""What is said of a client's address."""

from __future__ import annotations

import pytest

from relay.checks.peer import FACTS, Settings, build
from relay.errors import Unavailable
from relay.policy.facts import Missing, Stage
from tests.kit.checks import ask, case, tools
from tests.kit.zones import FakeResolver

NAMES = tuple(fact.name for fact in FACTS if fact.name != "peer.country")
REVERSE = "1.2.0.192.in-addr.arpa"
REVERSE_6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def facts(resolver, peer="192.0.2.1", *names):
    check = build(Settings(), tools(resolver))
    return ask(check, case(peer), Stage.CONNECT, *(names or NAMES))


@pytest.mark.parametrize(
    ("peer", "address", "network", "is_local"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24", False),
        ("2001:db8:1:2:3::9", "2001:db8:1:2:3::9", "2001:db8:1:2::/64", False),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24", False),
        ("fe80::1%eth0", "fe80::1", "fe80::/64", True),
        ("127.0.0.1", "127.0.0.1", "127.0.0.0/24", True),
        ("::1", "::1", "::/64", True),
        ("10.1.2.3", "10.1.2.3", "10.1.2.0/24", True),
        ("172.32.0.1", "172.32.0.1", "172.32.0.0/24", False),
        ("100.64.0.1", "100.64.0.1", "100.64.0.0/24", True),
        ("fd00::1", "fd00::1", "fd00::/64", True),
        ("/run/gatepost.sock", "", "", True),
    ],
)
def test_the_address_and_its_network_need_no_dns(peer, address, network, is_local):
    resolver = FakeResolver()
    names = ("peer.address", "peer.network", "peer.is_local")
    assert tuple(facts(resolver, peer, *names).values()) == (address, network, is_local)
    assert resolver.asked == []


def test_what_the_address_says_is_there_at_once_and_the_name_is_waited_for():
    check = build(Settings(), tools(FakeResolver()))
    known = frozenset({"peer.address", "peer.network", "peer.is_local"})
    assert check.at_once(case("192.0.2.1"), Stage.CONNECT, known)["peer.network"] == "192.0.2.0/24"
    assert check.at_once(case("192.0.2.1"), Stage.CONNECT, known | {"peer.country"}) is None
    assert check.at_once(case("192.0.2.1"), Stage.CONNECT, frozenset(NAMES)) is None


@pytest.mark.parametrize(
    ("zones", "peer", "name", "confirmed"),
    [
        ({}, "192.0.2.1", "", False),
        ({REVERSE: {"PTR": "mx.example.org"}}, "192.0.2.1", "mx.example.org", False),
        (
            {REVERSE: {"PTR": "mx.example.org"}, "mx.example.org": {"A": "192.0.2.1"}},
            "192.0.2.1",
            "mx.example.org",
            True,
        ),
        (
            {REVERSE: {"PTR": "mx.example.org"}, "mx.example.org": {"A": "192.0.2.2"}},
            "192.0.2.1",
            "mx.example.org",
            False,
        ),
        (
            {
                REVERSE: {"PTR": ["a.example.org", "b.example.org"]},
                "a.example.org": {"A": "192.0.2.9"},
                "b.example.org": {"A": ["192.0.2.8", "192.0.2.1"]},
            },
            "192.0.2.1",
            "b.example.org",
            True,
        ),
        (
            {REVERSE_6: {"PTR": "six.example.org"}, "six.example.org": {"AAAA": "2001:db8:0::1"}},
            "2001:db8::1",
            "six.example.org",
            True,
        ),
        (
            {REVERSE: {"PTR": "mx.example.org"}, "mx.example.org": {"A": "192.0.2.1"}},
            "::ffff:192.0.2.1",
            "mx.example.org",
            True,
        ),
        ({}, "/run/gatepost.sock", "", False),
    ],
)
def test_a_reverse_name_is_confirmed_if_it_leads_back(zones, peer, name, confirmed):
    found = facts(zones, peer, "peer.reverse_name", "peer.reverse_confirmed")
    assert tuple(found.values()) == (name, confirmed)


def test_without_a_reverse_tree_nothing_is_known_of_the_name():
    found = facts(FakeResolver(failing=[REVERSE]))
    assert {name for name, value in found.items() if isinstance(value, Missing)} == {
        "peer.reverse_name",
        "peer.reverse_confirmed",
        "peer.looks_dynamic",
    }


def test_a_name_that_cannot_be_looked_up_is_neither_confirmed_nor_not():
    zones = {REVERSE: {"PTR": "mx.example.org"}}
    found = facts(FakeResolver(zones, failing=["mx.example.org"]))
    assert found["peer.reverse_name"] == "mx.example.org"
    assert isinstance(found["peer.reverse_confirmed"], Missing)


def test_one_name_that_leads_back_makes_up_for_one_that_cannot_be_looked_up():
    zones = {
        REVERSE: {"PTR": ["a.example.org", "b.example.org"]},
        "b.example.org": {"A": "192.0.2.1"},
    }
    found = facts(FakeResolver(zones, failing=["a.example.org"]))
    assert (found["peer.reverse_name"], found["peer.reverse_confirmed"]) == ("b.example.org", True)


def test_an_address_of_a_thousand_names_costs_ten_questions():
    resolver = FakeResolver({REVERSE: {"PTR": [f"n{i}.example.org" for i in range(1000)]}})
    facts(resolver)
    assert len(resolver.asked) == 1 + 10


@pytest.mark.parametrize(
    ("peer", "name", "expected"),
    [
        ("192.0.2.77", "mx.example.org", False),
        ("192.0.2.77", "mail2.example.org", False),
        ("192.0.2.77", "192-0-2-77.isp.example", True),
        ("192.0.2.77", "77.2.0.192.isp.example", True),
        ("192.0.2.77", "ip-0-2-77.isp.example", True),
        ("192.0.2.77", "host-192000002077.isp.example", True),
        ("192.0.2.77", "c000024d.isp.example", True),
        ("192.0.2.77", "dsl-pool.isp.example", True),
        ("192.0.2.77", "adsl7.isp.example", True),
        ("192.0.2.77", "dsl-static.isp.example", False),
        ("192.0.2.77", "mail.pool.example", False),
        ("192.0.2.77", "carpool.example", False),
        ("192.0.2.77", "host-2-77.example", False),
        ("2001:db8::1:2:3:4", "p0001000200030004.isp.example", True),
        ("2001:db8::1:2:3:4", "0001-0002-0003-0004.isp.example", True),
        ("2001:db8::1", "mx.example.org", False),
    ],
)
def test_names_given_out_in_bulk(peer, name, expected):
    pointer = case(peer).peer.ip.reverse_pointer
    assert facts({pointer: {"PTR": name}}, peer)["peer.looks_dynamic"] is expected


# --- country ---------------------------------------------------------------------------------------


def country(peer, country_of):
    check = build(Settings(), tools(country_of=country_of))
    return ask(check, case(peer), Stage.CONNECT, "peer.country")["peer.country"]


def test_the_country_of_an_address():
    countries = {"192.0.2.1": "DE"}
    assert country("192.0.2.1", lambda address: countries[str(address)]) == "DE"
    assert country("::ffff:192.0.2.1", lambda address: countries[str(address)]) == "DE"
    assert country("/run/gatepost.sock", lambda address: countries[str(address)]) == ""


def test_without_a_database_no_country_is_known():
    assert isinstance(country("192.0.2.1", None), Missing)


def test_a_broken_database_says_nothing():
    def broken(address):
        raise Unavailable("country database: broken")

    assert country("192.0.2.1", broken) == Missing("country database: broken")


# --- faults ----------------------------------------------------------------------------------------


def test_records_that_are_no_addresses_confirm_nothing():
    zones = {REVERSE: {"PTR": "mx.example.org"}, "mx.example.org": {"A": "nonsense"}}
    assert facts(zones)["peer.reverse_confirmed"] is False


def test_a_fault_of_our_own_is_not_taken_for_an_answer():
    class Broken(FakeResolver):
        async def resolve(self, name, kind):
            if kind == "PTR":
                return await super().resolve(name, kind)
            raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        facts(Broken({REVERSE: {"PTR": "mx.example.org"}}))


@pytest.mark.parametrize(
    ("peer", "confirmed", "expected"),
    [
        ("192.0.2.1", True, ["iprev=pass policy.iprev=192.0.2.1"]),
        ("192.0.2.1", False, ["iprev=fail policy.iprev=192.0.2.1"]),
        ("2001:db8::1", True, ['iprev=pass policy.iprev="2001:db8::1"']),
        ("192.0.2.1", Missing("SERVFAIL"), ["iprev=temperror policy.iprev=192.0.2.1"]),
        ("192.0.2.1", None, []),
        ("/run/gatepost.sock", False, []),
    ],
)
def test_what_is_said_of_it_in_authentication_results(peer, confirmed, expected):
    check = build(Settings(), tools(FakeResolver()))
    facts = {} if confirmed is None else {"peer.reverse_confirmed": confirmed}
    assert [str(each) for each in check.testify(case(peer), facts)] == expected
