"""Values by network: whose network an address lies in, however many networks there are.

One look-up for each prefix length that occurs. Knows nothing of what the values mean.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NetworkTable"]

_T = TypeVar("_T")


class NetworkTable(Generic[_T]):
    """Networks, each with a value."""

    def __init__(self) -> None:
        self._by_prefix: dict[tuple[int, int], dict[int, _T]] = {}

    def put(self, network: str, value: _T) -> None:
        """Add "192.0.2.0/24", "2001:db8::/32" or one address; replaces the value of the same one.

        Raises:
            ValueError: it is none.
        """
        parsed = ip_network(network)
        shift = parsed.max_prefixlen - parsed.prefixlen
        table = self._by_prefix.setdefault((parsed.version, shift), {})
        table[int(parsed.network_address) >> shift] = value

    def find(self, address: str) -> Iterator[_T]:
        """Yield the value of each network that an address lies in; none for what is no address."""
        version, number = _number(address)
        for (family, shift), table in self._by_prefix.items():
            if family == version and (found := table.get(number >> shift)) is not None:
                yield found


@lru_cache(maxsize=1024)
def _number(text: str) -> tuple[int, int]:
    """An address as its version and a number, IPv4-mapped IPv6 unwrapped; version 0 for none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return (0, 0)
    address = getattr(address, "ipv4_mapped", None) or address
    return (address.version, int(address))
