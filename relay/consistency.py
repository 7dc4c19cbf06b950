"""Mistakes that no single key shows: settings that contradict each other or make no sense.

Pure: knows the settings' meaning, no file and no socket. `config.py` adds the place.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import PurePath
from typing import TYPE_CHECKING

from relay.errors import ConfigurationError
from relay.mail.hygiene import is_indispensable
from relay.mistakes import Mistake
from relay.net.name_servers import parse_name_server
from relay.pki.patterns import canonical_domain
from relay.pki.pins import parse_pin
from relay.pki.revocation_urls import problem_of
from relay.settings.revocation import RevocationAuthority
from relay.settings.values import is_host_name, parse_endpoint
from relay.state.redis_address import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.model import Endpoint
    from relay.settings import Settings
    from relay.settings.dns import Dns
    from relay.settings.mailauth import Dkim, DmarcReports, Doctor
    from relay.settings.route import Route
    from relay.settings.state import State
    from relay.toml_lines import KeyPath

__all__ = ["find_mistakes", "is_loopback"]


def find_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Look at the settings as a whole; yield every contradiction found."""
    yield from _check_hostname(settings.hostname)
    yield from _check_listeners(settings)
    yield from _check_routes(settings)
    yield from _check_limits(settings)
    yield from _check_dns(settings.dns)
    yield from _check_state(settings.state)
    yield from _check_revocation(settings)
    yield from _check_dkim(settings.dkim)
    yield from _check_dmarc_reports(settings.dmarc_reports)
    yield from _check_removed_headers(settings)
    yield from _check_doctor(settings.doctor)


def is_loopback(host: str) -> bool:
    """Whether a next hop is this machine: a loopback address or `localhost` (RFC 6761 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def _check_hostname(hostname: str) -> Iterator[Mistake]:
    # RFC 5321 2.3.5: EHLO and the banner want a name, not a bare address
    if not is_host_name(hostname):
        yield Mistake(
            ("hostname",),
            f'`hostname` = "{hostname}" is no host name',
            'write the name of this machine, as "edge.example.org"',
        )


# --- listeners ------------------------------------------------------------------------------


def _check_listeners(settings: Settings) -> Iterator[Mistake]:
    names: set[str] = set()
    taken: list[tuple[str, Endpoint]] = []
    for position, listener in enumerate(settings.listener):
        key = ("listener", position)
        if listener.name in names:
            yield Mistake(
                (*key, "name"),
                f'two listeners are named "{listener.name}"',
                "give each its own name",
            )
        names.add(listener.name)
        named = f'listener "{listener.name}"'
        yield from _check_address(named, listener.address, (*key, "address"), taken)
        if listener.client_certificate == "off" and set(settings.route) == {"*"}:
            yield Mistake(
                (*key, "client_certificate"),
                f'listener "{listener.name}" identifies nobody, and without an identity nothing '
                "goes to the default route",
                'add a `[route."example.org"]` for your domains, or use optional or required',
            )
    yield from _check_http(settings, taken)


def _check_http(settings: Settings, taken: list[tuple[str, Endpoint]]) -> Iterator[Mistake]:
    """Check the addresses of the HTTP process."""
    for name in ("ca", "est", "admin"):
        address = getattr(settings, name).address
        if address:
            yield from _check_address(f"[{name}]", address, (name, "address"), taken)
    if settings.est.address and settings.est.certificate is None:
        yield Mistake(
            ("est", "address"),
            "`[est]` has no certificate",
            'add `certificate = { chain = "tls/edge.pem", key = "tls/edge.key" }`',
        )
    if settings.est.address.startswith("unix:"):
        yield Mistake(
            ("est", "address"),
            "`[est]` is for other machines, and a Unix socket is not",
            'write an address and a port, as "0.0.0.0:8443"',
        )
    if settings.admin.address and not settings.admin.unsafe_bind and not _is_local(settings):
        yield Mistake(
            ("admin", "address"),
            f'`admin.address` = "{settings.admin.address}" is open to other machines',
            'use "127.0.0.1:9025"; if it must be, say `unsafe_bind = true`',
        )


def _is_local(settings: Settings) -> bool:
    """Whether the admin address can only be reached from here, as far as it can be read at all."""
    try:
        return is_loopback(parse_endpoint(settings.admin.address).address)
    except ValueError:
        return True


def _check_address(
    owner: str, address: str, key: KeyPath, taken: list[tuple[str, Endpoint]]
) -> Iterator[Mistake]:
    """Check the address of an owner, and that nobody before (`taken`) has it."""
    what = ".".join(part for part in key if isinstance(part, str))
    if address.startswith("unix:"):
        yield from _check_socket_path(what, address.removeprefix("unix:"), key)
        return
    try:
        endpoint = parse_endpoint(address)
    except ValueError as error:
        problem, _, remedy = str(error).partition("; ")
        yield Mistake(key, f"`{what}`: {problem}", remedy)
        return
    if endpoint.ip is None:
        yield Mistake(
            key,
            f'`{what}`: "{endpoint.address}" is a name',
            'write the IP address to listen on, as "0.0.0.0:25", "[::]:25" or "127.0.0.1:2525"',
        )
        return
    for other_owner, other in taken:
        if _overlap(endpoint, other):
            yield Mistake(
                key,
                f"{other_owner} and {owner} both listen on {endpoint}",
                "give each its own address or port",
            )
    taken.append((owner, endpoint))


def _check_socket_path(what: str, path: str, key: KeyPath) -> Iterator[Mistake]:
    if not PurePath(path).is_absolute():
        yield Mistake(
            key,
            f'`{what}`: "unix:{path}" is no absolute path',
            'write it as "unix:/run/gatepost/smtp.sock"',
        )


def _overlap(one: Endpoint, other: Endpoint) -> bool:
    """Whether two addresses meet; port 0 is a free port each time, IPv6 sockets are IPv6 only."""
    if one.port != other.port or one.port == 0 or one.ip is None or other.ip is None:
        return False
    same_family = one.ip.version == other.ip.version
    return same_family and (one.ip == other.ip or one.ip.is_unspecified or other.ip.is_unspecified)


# --- routes ---------------------------------------------------------------------------------


def _check_routes(settings: Settings) -> Iterator[Mistake]:
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
            problem, _, remedy = str(error).partition("; ")
            yield Mistake(place, f"`route.hosts`: {problem}", remedy)
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


# --- limits ---------------------------------------------------------------------------------


def _check_limits(settings: Settings) -> Iterator[Mistake]:
    limits = settings.limits
    if limits.max_message_bytes == 0:
        yield Mistake(
            ("limits", "max_message_bytes"), "no message would be small enough", 'use "64MiB"'
        )
    if limits.memory_budget < limits.max_message_bytes:
        yield Mistake(
            ("limits", "memory_budget"),
            f"the largest message ({limits.max_message_bytes} bytes) does not fit into "
            f"`memory_budget` ({limits.memory_budget} bytes)",
            "raise it, or lower `max_message_bytes`",
        )
    yield from _check_durations(settings)


def _check_durations(settings: Settings) -> Iterator[Mistake]:
    phases: list[tuple[KeyPath, object]] = [
        (("timeouts", name), getattr(settings.timeouts, name))
        for name in ("handshake", "greeting", "command", "data")
    ]
    phases += [
        (("route", domain, name), getattr(route, name))
        for domain, route in settings.route.items()
        for name in ("connect_timeout", "command_timeout", "data_timeout", "final_timeout")
    ]
    phases += [
        (("revocation", name), getattr(settings.revocation, name))
        for name in ("timeout", "ocsp_timeout", "refresh", "retry")
    ]
    phases.append((("est", "lifetime"), settings.est.lifetime))
    phases.append((("dns", "timeout"), settings.dns.timeout))
    phases.append((("doctor", "every"), settings.doctor.every))
    phases.append((("state", "timeout"), settings.state.timeout))
    for key, duration in phases:
        if not duration:
            yield Mistake(key, f"`{key[-1]}` = 0 leaves no time at all", 'use "30s" or more')


# --- names ----------------------------------------------------------------------------------


def _check_dns(dns: Dns) -> Iterator[Mistake]:
    for number, text in enumerate(dns.servers):
        key = ("dns", "servers", number)
        try:
            server = parse_name_server(text)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            yield Mistake(key, f"`dns.servers`: {problem}", remedy)
            continue
        if dns.trust_ad and not server.is_out_of_reach:
            # RFC 4035 4.9.3: only over a channel that nobody else can write to
            yield Mistake(
                key,
                f'`trust_ad` believes "{text}", but anybody on the way could change its answers',
                "use a validating server on this machine or over TLS, or leave `trust_ad` out",
            )
    if dns.min_ttl > dns.max_ttl:
        yield Mistake(("dns", "min_ttl"), "`min_ttl` is longer than `max_ttl`", "lower it")


# --- signatures -----------------------------------------------------------------------------


def _check_dmarc_reports(reports: DmarcReports) -> Iterator[Mistake]:
    if reports.enabled and not reports.sender:
        yield Mistake(
            ("dmarc_reports", "enabled"),
            "reports need somebody who sends them",
            'add `sender = "dmarc@example.org"` with a mailbox of yours',
        )


def _check_dkim(dkim: Dkim) -> Iterator[Mistake]:
    seen: set[tuple[str, str]] = set()
    for position, each in enumerate(dkim.key):
        key = ("dkim", "key", position)
        if not is_host_name(each.domain):
            yield Mistake(
                (*key, "domain"),
                f'`dkim.key`: "{each.domain}" is no domain',
                'write the domain that signs, as "example.org"',
            )
        # RFC 6376 3.1: labels as in a domain, one or more
        if not (each.selector.isascii() and is_host_name(f"{each.selector}.x")):
            yield Mistake(
                (*key, "selector"),
                f'`dkim.key`: "{each.selector}" is no selector',
                'use letters, digits and hyphens, as "g1-2027"',
            )
        name = (canonical_domain(each.domain), each.selector.lower())
        if name in seen:
            yield Mistake(
                (*key, "selector"),
                f'two keys are "{each.selector}" of {each.domain}',
                "give each its own selector",
            )
        seen.add(name)


def _check_removed_headers(settings: Settings) -> Iterator[Mistake]:
    lists: list[tuple[KeyPath, tuple[str, ...]]] = [
        (("listener", position), listener.remove_headers)
        for position, listener in enumerate(settings.listener)
    ]
    lists += [(("route", name), route.remove_headers) for name, route in settings.route.items()]
    for key, names in lists:
        for position, name in enumerate(names):
            place = (*key, "remove_headers", position)
            # RFC 5322 3.6.8: printable, and no colon
            if not re.fullmatch(r"[!-)+-9;-~]+\*?", name):
                remedy = 'write the name alone, as "X-Originating-IP" or "X-Internal-*"'
                yield Mistake(place, f'`remove_headers`: "{name}" is no header field', remedy)
            elif is_indispensable(name):
                remedy = "leave it out; for Received there is `received`"
                yield Mistake(place, f'`remove_headers`: mail can\'t do without "{name}"', remedy)


# --- domains --------------------------------------------------------------------------------


def _check_doctor(doctor: Doctor) -> Iterator[Mistake]:
    for position, domain in enumerate(doctor.domains):
        if not is_host_name(domain):
            remedy = 'write it as "example.org"'
            yield Mistake(
                ("doctor", "domains", position),
                f'`doctor.domains`: "{domain}" is no domain',
                remedy,
            )
    for position, name in enumerate(doctor.dkim_keys):
        selector, has_both, domain = name.partition("._domainkey.")
        if not (selector and has_both and is_host_name(domain)):
            remedy = 'write it as "s1._domainkey.example.org"'
            yield Mistake(
                ("doctor", "dkim_keys", position), f'`doctor.dkim_keys`: "{name}" is no key', remedy
            )
    for key in ("mail_to", "sender"):
        text = getattr(doctor, key)
        local, _, domain = text.rpartition("@")
        if text and not (local and is_host_name(domain)):
            remedy = 'write it as "postmaster@example.org"'
            yield Mistake(("doctor", key), f'`doctor.{key}`: "{text}" is no address', remedy)
    if doctor.webhook and (problem := problem_of(doctor.webhook)):
        yield Mistake(
            ("doctor", "webhook"),
            f'`doctor.webhook`: "{doctor.webhook}": {problem}',
            'write it as "https://alerts.example.org/gatepost"',
        )


# --- revocation -----------------------------------------------------------------------------


def _check_revocation(settings: Settings) -> Iterator[Mistake]:
    sources = settings.revocation.sources
    if len(set(sources)) < len(sources):
        yield Mistake(
            ("revocation", "sources"),
            "`sources` names one of them twice",
            'write it as ["crl", "ocsp"]',
        )
    for position, authority in enumerate(settings.revocation.authority):
        key = ("revocation", "authority", position)
        yield from _check_urls(
            (*key, "crl_urls"), authority.crl_urls, settings, "http://ca.example.org/root.crl"
        )
        yield from _check_urls(
            (*key, "ocsp_urls"), authority.ocsp_urls, settings, "http://ocsp.example.org"
        )
        if authority.ocsp_urls and "ocsp" not in sources:
            yield Mistake(
                (*key, "ocsp_urls"),
                "`ocsp_urls` say nothing without `ocsp` in `revocation.sources`",
                "leave them out, or add it",
            )
        if authority == RevocationAuthority(certificate=authority.certificate):
            yield Mistake(
                key,
                "this `[[revocation.authority]]` says nothing about its CA",
                "add `mode`, `crl_files`, `crl_urls` or `ocsp_urls`, or leave it out",
            )


def _check_urls(
    key: KeyPath, urls: Sequence[str], settings: Settings, example: str
) -> Iterator[Mistake]:
    name = key[-1]
    for number, url in enumerate(urls):
        if problem := problem_of(url):
            yield Mistake(
                (*key, number), f'`{name}`: "{url}": {problem}', f'write it as "{example}"'
            )
    if urls and not settings.revocation.fetch:
        yield Mistake(
            key,
            f"`{name}` say nothing with `revocation.fetch = false`",
            "leave one of the two out",
        )


# --- state ----------------------------------------------------------------------------------


def _check_state(state: State) -> Iterator[Mistake]:
    key: KeyPath = ("state",)
    if state.kind != "redis":
        if state.url:
            yield Mistake(
                (*key, "url"),
                f'`state.url` says nothing with `kind` = "{state.kind}"',
                'set `kind = "redis"`, or leave it out',
            )
        return
    if not state.url:
        yield Mistake(
            (*key, "kind"), "`state.url` is missing", 'add `url = ["redis://state.internal:6379"]`'
        )
    yield from _check_state_urls(state)
    yield from _check_topology(state)
    if state.password is not None and state.password_file is not None:
        yield Mistake((*key, "password_file"), "`state.password` is set too", "keep one of the two")


def _check_state_urls(state: State) -> Iterator[Mistake]:
    are_tls: set[bool] = set()
    for position, text in enumerate(state.url):
        try:
            are_tls.add(parse_store_url(text, state.topology).is_tls)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            yield Mistake(("state", "url", position), f"`state.url`: {problem}", remedy)
    if len(are_tls) > 1:
        yield Mistake(
            ("state", "url"), "`state.url` mixes redis:// and rediss://", "use one of the two"
        )
    for name in ("ca", "client_certificate"):
        if are_tls == {False} and getattr(state, name) is not None:
            yield Mistake(
                ("state", name),
                f"`state.{name}` says nothing with redis://, which is not encrypted",
                "write rediss:// in `url`, or leave it out",
            )


def _check_topology(state: State) -> Iterator[Mistake]:
    if state.topology == "standalone" and len(state.url) > 1:
        yield Mistake(
            ("state", "url"),
            f"`state.url` names {len(state.url)} servers, and a standalone one is one",
            'set `topology` to "sentinel" or "cluster", or keep one',
        )
    if state.topology == "sentinel" and not state.service:
        yield Mistake(
            ("state", "topology"), "`state.service` is missing", 'add `service = "mymaster"`'
        )
    for name in ("service", "sentinel_username", "sentinel_password_file"):
        if state.topology != "sentinel" and getattr(state, name):
            yield Mistake(
                ("state", name),
                f'`state.{name}` says nothing with `topology` = "{state.topology}"',
                'set `topology = "sentinel"`, or leave it out',
            )
    if state.topology == "cluster" and state.database:
        yield Mistake(
            ("state", "database"), "a Cluster has the database 0 only", "leave `database` out"
        )
