"""The addresses of this machine's interfaces, as they are at the moment. Decides nothing."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import psutil

__all__ = ["own_addresses"]

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def own_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """Return all addresses of this machine, without the scopes of link-local ones.

    Raises:
        OSError: it does not say.
    """
    return frozenset(
        ip_address(each.address.partition("%")[0])
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in _FAMILIES
    )
