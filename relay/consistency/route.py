"""Routes: domains that are none, next hops that are none, TLS that proves nothing.

Pure: asks no name server; `gatepost check --connect` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import ConfigurationError
from relay.mistakes import Mistake, mistake_by
from relay.pki.patterns import canonical_domain
from relay.pki.pins import parse_pin
from relay.settings.values import is_host_name, is_loopback, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings
    from relay.settings.route import Route
    from relay.toml_lines import KeyPath

__all__ = ["check_routes"]


def check_routes(settings: Settings) -> Iterator[Mistake]:
    """Look at every `[route]`."""
    domains: dict[str, str] = {}
    for domain, route in settings.route.items():
        key = ("route", domain)
        yield from _check_domain(domain, key)
        canonical = canonical_domain(domain)
        if canonical in domains:
            yield Mistake(
                key,
                f'routes "{domains[canonical]}" and "{domain}" are for the same domain',
                "put their hosts into one",
            )
        domains[canonical] = domain
        yield from _check_hosts(route, key)
        yield from _check_security(route, key)


def _check_domain(domain: str, key: KeyPath) -> Iterator[Mistake]:
    is_literal = domain.startswith("[") and domain.endswith("]")
    name = domain.removeprefix("*.")
    if domain == "*" or is_literal or (is_host_name(name) and not name.endswith(".")):
        return
    remedy = 'write "example.org", "*.example.org" for its subdomains, or "*" for all others'
    if "@" in domain:
        remedy = "routes go by domain: leave out what stands before the @, and the @"
    elif name.endswith(".") and is_host_name(name):
        remedy = f'leave out the final dot: "{domain.removesuffix(".")}"'
    yield Mistake(key, f'route "{domain}" is no domain', remedy)


def _check_hosts(route: Route, key: KeyPath) -> Iterator[Mistake]:
    for position, text in enumerate(route.hosts):
        place = (*key, "hosts", position)
        try:
            endpoint = parse_endpoint(text, default_port=25)
        except ValueError as error:
            yield mistake_by(error, place, "route.hosts")
            continue
        if endpoint.port == 0:
            yield Mistake(place, f'`route.hosts`: "{text}" has port 0', "use 1 to 65535")
        if route.tls == "off" and not route.unsafe_plaintext and not is_loopback(endpoint.address):
            yield Mistake(
                (*key, "tls"),
                f'`tls` = "off" would send mail in clear to {text}',
                "use verify or fingerprint; if it must be, say `unsafe_plaintext = true`",
            )


def _check_security(route: Route, key: KeyPath) -> Iterator[Mistake]:
    for position, text in enumerate(route.pins):
        try:
            parse_pin(text)
        except ConfigurationError as error:
            yield Mistake((*key, "pins", position), f"`route.pins`: {error.problem}", error.remedy)
    if route.tls == "fingerprint" and not route.pins:
        yield Mistake(
            (*key, "tls"),
            '`tls` = "fingerprint" needs `pins`, and there are none',
            "add the next hop's, as `gatepost cert show FILE` prints them",
        )
    if route.pins and route.tls != "fingerprint":
        yield Mistake(
            (*key, "pins"),
            f'`pins` say nothing with `tls` = "{route.tls}"',
            'set `tls = "fingerprint"`, or leave out the pins',
        )
    if route.client_certificate is not None and route.tls == "off":
        yield Mistake(
            (*key, "client_certificate"),
            '`client_certificate` cannot be shown with `tls` = "off"',
            "use verify or fingerprint, or leave it out",
        )
