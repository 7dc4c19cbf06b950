"""The addresses of this machine: those that it can listen on, and none of others."""

import json
import shutil
import socket
import subprocess
from ipaddress import ip_address

import pytest

from relay.net.interfaces import own_addresses


def test_loopback_is_ours():
    assert ip_address("127.0.0.1") in own_addresses()


def test_an_address_of_ours_can_be_listened_on_and_another_one_can_not():
    def can_listen(address):
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family) as probe:
            try:
                probe.bind((str(address), 0))
            except OSError:
                return False
            return True

    found = own_addresses()
    assert all(can_listen(each) for each in found if not each.is_link_local)
    stranger = ip_address("192.0.2.1")
    assert stranger not in found
    assert not can_listen(stranger)


def test_they_are_those_that_the_system_shows():
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed")
    shown = subprocess.run(
        ["ip", "-json", "address"], capture_output=True, timeout=10, check=True
    ).stdout
    addresses = {
        ip_address(each["local"])
        for interface in json.loads(shown)
        for each in interface["addr_info"]
    }
    assert own_addresses() == addresses


def test_asking_often_holds_nothing_back():
    first = own_addresses()
    assert all(own_addresses() == first for _ in range(1000))
