"""The addresses of this machine's interfaces, as they are at the moment. Decides nothing.

Python has no call for it, so the C library's `getifaddrs` is asked, on Linux and the BSDs (macOS) alike.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_addresses"]

_HAS_LENGTH: Final = not sys.platform.startswith("linux")
"""Whether a `sockaddr` begins with its length, before the family: on the BSDs it does."""


class _Interface(ctypes.Structure):
    """The beginning of `struct ifaddrs`, which is the same everywhere; only pointers to it are held."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def own_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """Return all addresses of this machine.

    Raises:
        OSError: it does not say.
    """
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        return frozenset(_addresses(first))
    finally:
        library.freeifaddrs(first)


def _addresses(each: ctypes._Pointer[_Interface]) -> Iterator[IPv4Address | IPv6Address]:
    while each:
        interface = each.contents
        if interface.address:  # one may be without
            head = ctypes.string_at(interface.address, 2)
            family = head[1] if _HAS_LENGTH else int.from_bytes(head, sys.byteorder)
            if family == socket.AF_INET:
                yield IPv4Address(ctypes.string_at(interface.address + 4, 4))
            elif family == socket.AF_INET6:
                yield IPv6Address(ctypes.string_at(interface.address + 8, 16))
        each = interface.next
