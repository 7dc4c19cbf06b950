"""Which next hop takes the mail of a recipient's domain: the routing table.

Pure look-ups in what was configured. It must not know whether a next hop is up. RFC 5321 5 (our
routes are configured, not looked up), RFC 5890 (names in both spellings).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.pki.certificate import Certificate
    from relay.ports import ClientTls
    from relay.settings.route import Route as RouteSettings

__all__ = ["Host", "Route", "RouteTable", "parse_host"]

_DEFAULT = "*"
_SMTP_PORT = 25


class Host(NamedTuple):
    """Where a next hop listens; an IPv6 address stands without brackets."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """One `[route]` with what its files held. `pins` are canonical: "spki:sha256:<64 hex>"."""

    name: str
    hosts: tuple[Host, ...]
    settings: RouteSettings
    anchors: tuple[Certificate, ...] = ()
    pins: tuple[str, ...] = ()
    tls: ClientTls | None = None

    def server_name(self, host: Host) -> str:
        """The name that the certificate of a host must have."""
        return self.settings.server_name or host.name


def parse_host(text: str) -> Host:
    """Read "host:port", "host", "192.0.2.1:25", "[2001:db8::1]:25" or "2001:db8::1".

    Raises:
        ValueError: it is none of these; the message says why.
    """
    name, port = text, ""
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f'{text!r} is no host; write "[2001:db8::1]:25"')
        ip_address(name)
        port = port[1:] if port else str(_SMTP_PORT)
    elif text.count(":") > 1:
        ip_address(text)
    elif ":" in text:
        name, _, port = text.partition(":")
        port = port or "?"
    port = port or str(_SMTP_PORT)
    if not name or any(character in name for character in " /[]@") or not name.isprintable():
        raise ValueError(f'{text!r} is no host; write "mx.example.org:25"')
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    return Host(name, int(port))


class RouteTable:
    """Finds the route of a domain: its own, else the nearest `*.parent`, else `"*"`.

    Args:
        routes: in the order of the configuration file.
        hostname: our own name, whose route takes the mail to a bare `postmaster`.
    """

    def __init__(self, routes: Iterable[Route], *, hostname: str) -> None:
        self.routes = tuple(routes)
        self._by_domain = {canonical_domain(route.name): route for route in self.routes}
        self._default = self._by_domain.pop(_DEFAULT, None)
        self._postmaster = (
            self._named(canonical_domain(hostname))
            or next(iter(self._by_domain.values()), None)
            or self._default
        )

    def find(self, domain: str, *, identified: bool) -> Route | None:
        """Return the route of a recipient's domain, None if we do not relay there.

        The default route takes only what identified senders send, and no address literals. The
        domain "" is the bare postmaster, whose mail is always taken (RFC 5321 4.5.1).
        """
        if not domain:
            return self._postmaster
        found = self._named(canonical_domain(domain))
        if found is None and identified and not domain.startswith("["):
            return self._default
        return found

    def _named(self, domain: str) -> Route | None:
        found = self._by_domain.get(domain)
        if domain.startswith("["):  # RFC 5321 4.1.3: a literal has no parents
            return found
        rest = domain
        while found is None and "." in rest:
            rest = rest.partition(".")[2]
            found = self._by_domain.get(f"*.{rest}")
        return found
