"""Which name servers to ask: as the settings say, else as the system is set up.

Knows nothing of DNS messages. resolv.conf(5) for the system's.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.settings.values import is_host_name, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.model import Endpoint

__all__ = ["NameServer", "find_name_servers", "parse_name_server", "parse_resolv_conf"]

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_PORT: Final = 53
_TLS_PORT: Final = 853  # RFC 7858 3.1
_ADVICE: Final = (
    'write it as "192.0.2.53", "[2001:db8::53]:53" or "tls://192.0.2.53#dns.example.org"'
)


class NameServer(NamedTuple):
    """Where a name server is; with `tls_name` it is asked over TLS and must prove that name."""

    endpoint: Endpoint
    tls_name: str = ""

    def __str__(self) -> str:
        return f"tls://{self.endpoint}#{self.tls_name}" if self.tls_name else str(self.endpoint)

    @property
    def is_out_of_reach(self) -> bool:
        """Whether nobody between us and it can change what it says: on this machine, or over TLS."""
        ip = self.endpoint.ip
        return bool(self.tls_name) or (ip is not None and ip.is_loopback)


def parse_name_server(text: str) -> NameServer:
    """Read one of `[dns] servers`.

    Raises:
        ValueError: it is none; the text says how to write it.
    """
    over_tls = text.startswith("tls://")
    place, has_name, name = text.removeprefix("tls://").partition("#")
    if over_tls and not (has_name and is_host_name(name)):
        raise ValueError(f'"{text}" does not say what name the server must prove; {_ADVICE}')
    if has_name and not over_tls:
        raise ValueError(f'"{text}" names a server but no TLS to prove it; {_ADVICE}')
    if re.fullmatch(r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", place):
        place = f"[{place}]"  # a bare IPv6 address, as resolv.conf has them
    try:
        endpoint = parse_endpoint(place, _TLS_PORT if over_tls else _PORT)
    except ValueError as error:
        raise ValueError(f"{str(error).partition('; ')[0]}; {_ADVICE}") from None
    if endpoint.ip is None:
        raise ValueError(f'"{endpoint.address}" is a name, and who would look it up?; {_ADVICE}')
    return NameServer(endpoint, name)


def parse_resolv_conf(text: str) -> tuple[NameServer, ...]:
    """Read the name servers of a resolv.conf; what can't be read is passed over, as libc does."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            found.append(parse_name_server(words[1]))
    return tuple(found)


def find_name_servers(
    servers: Sequence[str], resolv_conf: Path = _RESOLV_CONF
) -> tuple[NameServer, ...]:
    """Return the name servers of the settings, the system's if there are none, else this machine.

    Raises:
        ValueError: one of `servers` is none.
    """
    if servers:
        return tuple(map(parse_name_server, servers))
    try:
        text = resolv_conf.read_text("utf-8", "replace")
    except OSError:
        text = ""
    return parse_resolv_conf(text) or (
        parse_name_server("127.0.0.1"),
    )  # resolv.conf(5): the default


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
