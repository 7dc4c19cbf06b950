"""The view of restrictions: the smallest network in force, quickly."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Restriction, RestrictionKind
from relay.policy.restrictions import Restrictions

BAN, SUSPENSION, REVOCATION = RestrictionKind
KEY = "spki:sha256:" + "ab" * 32


def restriction(subject, kind=BAN, **values):
    return Restriction(kind, subject, "why", "who", **{"since": 0.0, "until": 100.0} | values)


@pytest.fixture
def view():
    return Restrictions()


def banned(view, address):
    found = view.banned(ip_address(address))
    return found and found.subject


def test_addresses_inside_a_banned_network_are_banned_and_no_others(view):
    for subject in ("192.0.2.0/24", "2001:db8::/48", "198.51.100.7/32"):
        assert view.put(restriction(subject))
    assert banned(view, "192.0.2.0") == banned(view, "192.0.2.255") == "192.0.2.0/24"
    assert banned(view, "2001:db8:0:ffff::1") == "2001:db8::/48"
    assert banned(view, "198.51.100.7") == "198.51.100.7/32"
    for free in ("192.0.1.255", "192.0.3.0", "198.51.100.6", "2001:db8:1::", "::c000:200"):
        assert banned(view, free) is None
    assert view.banned(None) is None


def test_of_several_networks_the_smallest_in_force_is_told(view):
    view.put(restriction("192.0.0.0/16"))
    view.put(restriction("192.0.2.0/24", until=10.0))
    view.put(restriction("192.0.2.7/32", until=5.0))
    told = {}
    for view.now in (0.0, 5.0, 10.0, 100.0):
        told[view.now] = banned(view, "192.0.2.7")
    assert told == {0.0: "192.0.2.7/32", 5.0: "192.0.2.0/24", 10.0: "192.0.0.0/16", 100.0: None}


def test_everything_can_be_banned(view):
    view.put(restriction("0.0.0.0/0", until=None))
    assert banned(view, "255.255.255.255") == "0.0.0.0/0"
    assert banned(view, "::1") is None


def test_suspensions_and_revocations_are_found_by_name_while_they_last(view):
    view.put(restriction("acme", SUSPENSION))
    view.put(restriction(KEY, REVOCATION, until=None))
    assert view.suspended("acme").subject == "acme"
    assert view.revoked(KEY).subject == KEY
    assert view.suspended(KEY) is view.revoked("acme") is view.suspended("other") is None
    view.now = 100.0
    assert view.suspended("acme") is None
    assert view.revoked(KEY)


def test_what_is_over_is_still_known(view):
    view.put(restriction("192.0.2.0/24", times=4))
    view.now = 1000.0
    assert view.last(BAN, "192.0.2.0/24").times == 4
    assert view.last(BAN, "192.0.3.0/24") is None


def test_a_new_one_takes_the_place_of_the_former(view):
    view.put(restriction("192.0.2.0/24", until=1.0))
    view.put(restriction("192.0.2.0/24", until=50.0))
    view.now = 10.0
    assert banned(view, "192.0.2.1") == "192.0.2.0/24"
    assert len(view) == 1


def test_dropped_is_forgotten(view):
    for kind, subject in ((BAN, "192.0.2.0/24"), (SUSPENSION, "acme")):
        view.put(restriction(subject, kind))
        view.drop(kind, subject)
        view.drop(kind, subject)
    assert len(view) == 0
    assert banned(view, "192.0.2.1") is None
    assert view.suspended("acme") is None


def test_what_is_no_network_is_not_taken(view):
    for subject in ("acme", "192.0.2.1/24", ""):
        assert not view.put(restriction(subject))
    assert len(view) == 0


def test_one_network_in_two_spellings_ends_with_the_later(view):
    view.put(restriction("192.0.2.1/32"))
    view.put(restriction("192.0.2.1"))
    view.drop(BAN, "192.0.2.1/32")
    assert banned(view, "192.0.2.1") == "192.0.2.1"
    view.drop(BAN, "192.0.2.1")
    assert banned(view, "192.0.2.1") is None


NETWORKS = st.builds(
    lambda number, length: ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.sets(NETWORKS, max_size=30), st.data())
def test_it_says_what_looking_at_all_of_them_says(networks, data):
    view = Restrictions()
    for network in networks:
        view.put(restriction(str(network)))
    for network in data.draw(st.sets(st.sampled_from(sorted(networks)))) if networks else ():
        view.drop(BAN, str(network))
        networks = networks - {network}
    near = [network.network_address for network in networks]
    for address in [*near, *(ip_address(int(each) ^ 1) for each in near), ip_address("192.0.2.1")]:
        around = [network for network in networks if address in network]
        expected = max(around, key=lambda each: each.prefixlen, default=None)
        assert banned(view, address) == (expected and str(expected))
