"""Whose network an address lies in."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.networks import NetworkTable


def found(address, *networks):
    table = NetworkTable()
    for network in networks:
        table.put(network, network)
    return sorted(table.find(address))


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.7", ["192.0.2.0/24", "192.0.2.7"]),
        ("::ffff:192.0.2.7", ["192.0.2.0/24", "192.0.2.7"]),
        ("192.0.3.7", []),
        ("2001:db8::1", ["2001:db8::/32"]),
        ("2001:db8::1%eth0", ["2001:db8::/32"]),
        ("2001:db9::1", []),
        ("/run/gatepost.sock", []),
        ("", []),
        ("192.0.2.7.", []),
    ],
)
def test_an_address_is_found_in_the_networks_around_it(address, networks):
    assert found(address, "192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "10.0.0.0/8") == networks


def test_everything_lies_in_the_whole_internet():
    assert found("192.0.2.1", "0.0.0.0/0") == ["0.0.0.0/0"]
    assert found("2001:db8::1", "0.0.0.0/0", "::/0") == ["::/0"]


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError):
        NetworkTable().put("192.0.2.1/24", value=True)


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_it_agrees_with_the_standard_library(inside, prefix, address):
    network = ip_network((inside, prefix), strict=False)
    assert bool(found(str(address), str(network))) == (address in network)
    assert found(str(inside), str(network)) == [str(network)]
