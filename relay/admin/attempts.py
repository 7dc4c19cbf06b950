"""What was refused, counted by address: who has tried too often is not listened to for a while.

Pure: told the time, keeps no more than `MAX_ADDRESSES`. IPv6 counts by /64, for that is what one client
has.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["Attempts", "network_of"]

MAX_ADDRESSES: Final = 10_000


class Attempts:
    """Counts over fixed windows of time.

    Args:
        limit: how many wrong ones are listened to in a window.
        window_seconds: how long a window is.
    """

    def __init__(self, limit: int, window_seconds: float) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._window = 0
        self._counts: dict[str, int] = {}

    def failed(self, address: str, now: float) -> None:
        """Count a wrong one."""
        self._turn(now)
        key = network_of(address)
        if key in self._counts or len(self._counts) < MAX_ADDRESSES:
            self._counts[key] = self._counts.get(key, 0) + 1

    def is_blocked(self, address: str, now: float) -> bool:
        """Whether an address has had its share; all new ones have, once too many have failed."""
        self._turn(now)
        key = network_of(address)
        is_full = len(self._counts) >= MAX_ADDRESSES and key not in self._counts
        return is_full or self._counts.get(key, 0) >= self._limit

    def seconds_left(self, now: float) -> int:
        """When the window ends."""
        return int(self._window_seconds - now % self._window_seconds) + 1

    def _turn(self, now: float) -> None:
        window = int(now // self._window_seconds)
        if window != self._window:
            self._window = window
            self._counts.clear()


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, a /64 of IPv6."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
