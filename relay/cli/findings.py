"""What is worth saying about a configuration that works: what would hurt in production.

A sound configuration and its files are given; a finding says where, what and what to do. Whether
next hops answer is `next_hops.py`'s business.
"""

from __future__ import annotations

import os
import pwd
import resource
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.x509 import ExtendedKeyUsage
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.certificate_files import read_system_store
from relay.cli.finding import Finding, Level, finding_of
from relay.cli.identity_findings import find_identities
from relay.errors import ConfigurationError
from relay.pki.posture import Kind, Use, Used, flaws_of_certificate
from relay.settings.values import is_loopback, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.config import Configuration
    from relay.material import Material
    from relay.net.tls import KeyPair
    from relay.pki.certificate import Certificate
    from relay.settings.listener import Listener
    from relay.settings.table import CertificateFiles
    from relay.toml_lines import KeyPath

__all__ = ["Machine", "find"]

_MAIL_PORTS = {25, 465, 587}
_DESCRIPTORS_PER_CONNECTION = 2  # the client's and the next hop's
# RFC 2606: names that are nobody's
_EXAMPLE_DOMAINS = ("example", "example.com", "example.net", "example.org", "test", "invalid")


@dataclass(frozen=True)
class Machine:
    """What the findings depend on besides the configuration."""

    now: datetime
    is_root: bool
    max_descriptors: int

    @classmethod
    def this(cls) -> Machine:
        """The machine we run on; the limit is the hard one, which the supervisor raises to."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        unlimited = hard == resource.RLIM_INFINITY
        return cls(datetime.now(UTC), os.geteuid() == 0, 2**31 if unlimited else hard)


def find(configuration: Configuration, material: Material, machine: Machine) -> list[Finding]:
    """Look at everything; what is in order is said too, with level "ok"."""
    search = _Search(configuration, material, machine)
    found = (
        *search.machine_findings(),
        *search.listener_findings(),
        *search.route_findings(),
        *find_identities(configuration, material.allowlist.identities, machine.now),
        *search.report_findings(),
    )
    # One certificate may serve in several places; what is said of it is said once.
    return list({finding.problem: finding for finding in reversed(found)}.values())[::-1]


class _Search:
    def __init__(self, configuration: Configuration, material: Material, machine: Machine) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._material = material
        self._machine = machine

    def _at(self, key: KeyPath, level: Level, problem: str, remedy: str = "") -> Finding:
        return Finding(level, str(self._configuration.origin(*key)), problem, remedy)

    def _warn(self, key: KeyPath, problem: str, remedy: str) -> Finding:
        return self._at(key, "warning", problem, remedy)

    # --- the machine ------------------------------------------------------------------------

    def machine_findings(self) -> Iterator[Finding]:
        settings, machine = self._settings, self._machine
        names = ", ".join(path.name for path in self._configuration.sources)
        yield self._at((), "ok", f"read {names}")
        yield from self._hostname_findings()
        if machine.is_root and not settings.user:
            yield self._warn(
                ("user",),
                "the workers would run as root",
                'set `user = "gatepost"`, or start it as another user',
            )
        if settings.user and not _is_user(settings.user):
            yield self._at(
                ("user",),
                "error",
                f'there is no user "{settings.user}"',
                f"create it: useradd --system {settings.user}",
            )
        needed = _DESCRIPTORS_PER_CONNECTION * settings.limits.max_connections
        if machine.max_descriptors < needed:
            yield self._warn(
                ("limits", "max_connections"),
                f"{settings.limits.max_connections} connections, each with one to a next hop, need "
                f"{needed} file descriptors; the limit is {machine.max_descriptors}",
                "raise it (LimitNOFILE= or ulimit -n), or lower `limits.max_connections`",
            )

    def _hostname_findings(self) -> Iterator[Finding]:
        name = self._settings.hostname.lower()
        if "." not in name or name.endswith((".local", ".localdomain", ".localhost")):
            yield self._warn(
                ("hostname",),
                f'`hostname` = "{name}" is no name that others can look up',
                "write this machine's full name in the DNS",
            )
        elif any(name == each or name.endswith(f".{each}") for each in _EXAMPLE_DOMAINS):
            yield self._warn(
                ("hostname",), f'`hostname` = "{name}" is an example', "write this machine's name"
            )

    # --- mail of our own ----------------------------------------------------------------------

    def report_findings(self) -> Iterator[Finding]:
        """RFC 9990 3: mail with reports has to pass DMARC itself, and forwarding leaves it DKIM only."""
        reports = self._settings.dmarc_reports
        domain = reports.sender.rpartition("@")[2]
        if reports.enabled and not self._material.keyring.of_author(domain):
            yield self._warn(
                ("dmarc_reports", "sender"),
                f"nothing signs the reports: there is no key of {domain} for authors",
                f'make one: "gatepost dkim new {domain}"',
            )

    # --- listeners --------------------------------------------------------------------------

    def listener_findings(self) -> Iterator[Finding]:
        for position, listener in enumerate(self._settings.listener):
            key: KeyPath = ("listener", position)
            yield from self._address_findings(listener, (*key, "address"))
            if listener.client_ca and listener.client_certificate == "off":
                yield self._warn(
                    (*key, "client_ca"),
                    '`client_ca` says nothing with `client_certificate` = "off"',
                    "leave it out, or use optional",
                )
            pairs = self._material.listeners[listener.name].key_pairs
            for number, (files, pair) in enumerate(zip(listener.certificate, pairs, strict=True)):
                place = (*key, "certificate", number)
                yield from self._certificate_findings(files, pair, place)
                yield from self._server_findings(files, pair, place)

    def _address_findings(self, listener: Listener, key: KeyPath) -> Iterator[Finding]:
        if listener.address.startswith("unix:"):
            return
        endpoint = parse_endpoint(listener.address)
        if is_loopback(endpoint.address):
            yield self._warn(
                key,
                f'listener "{listener.name}" is reached from this machine only',
                f'for the world: address = "0.0.0.0:{_usual_port(listener)}"',
            )
        elif endpoint.port not in _MAIL_PORTS:
            yield self._warn(
                key,
                f'listener "{listener.name}" is on port {endpoint.port}, where no MTA looks',
                f"use port {_usual_port(listener)}, or tell your partners",
            )

    def _server_findings(
        self, files: CertificateFiles, pair: KeyPair, key: KeyPath
    ) -> Iterator[Finding]:
        leaf, hostname = pair.chain[0], self._settings.hostname.lower()
        parent = hostname.partition(".")[2]
        if not {f"dns:{hostname}", f"dns:*.{parent}"} & set(leaf.names):
            yield self._warn(
                (*key, "chain"),
                f"the certificate in {files.chain} is not for {hostname}",
                "get one for it: clients that verify look for the name they dial",
            )
        usages = leaf.extension(ExtendedKeyUsage)
        if usages is not None and not {
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        } & set(usages):
            yield self._at(
                (*key, "chain"),
                "error",
                f"the certificate in {files.chain} is not for servers",
                "get one with the extended key usage serverAuth",
            )
        if not _is_public(pair.chain[-1]):
            yield self._warn(
                (*key, "chain"),
                f"the certificate in {files.chain} is of a private CA ({pair.chain[-1].issuer})",
                "give the CA's certificate to every partner, or get one of a public CA",
            )

    # --- certificates and keys --------------------------------------------------------------

    def _certificate_findings(
        self, files: CertificateFiles, pair: KeyPair, key: KeyPath
    ) -> Iterator[Finding]:
        leaf = pair.chain[0]
        used = Used(Use.LISTENER, str(files.chain), leaf)
        flaws = list(flaws_of_certificate(used, self._machine.now))
        place = str(self._configuration.origin(*key, "chain"))
        yield from (finding_of(flaw, place) for flaw in flaws)
        if not {Kind.EXPIRED, Kind.EXPIRING} & {flaw.kind for flaw in flaws}:
            problem = f"{files.chain} is valid until {leaf.not_after:%Y-%m-%d}"
            yield self._at((*key, "chain"), "ok", problem)
        yield from self._mode_findings(files.key, (*key, "key"))

    def _mode_findings(self, path: Path, key: KeyPath) -> Iterator[Finding]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o027:  # others may do anything, or the group may write
            yield self._warn(
                key, f"{path} is open to others (mode {mode:04o})", f"chmod 600 {path}"
            )

    # --- routes -----------------------------------------------------------------------------

    def route_findings(self) -> Iterator[Finding]:
        for domain, route in self._settings.route.items():
            key: KeyPath = ("route", domain)
            if route.tls == "off" and route.unsafe_plaintext:
                yield self._warn(
                    (*key, "unsafe_plaintext"),
                    f'mail for route "{domain}" crosses the network in clear',
                    "use verify or fingerprint",
                )
            if route.ca and route.tls != "verify":
                yield self._warn(
                    (*key, "ca"),
                    f'`ca` says nothing with `tls` = "{route.tls}"',
                    "leave it out, or use verify",
                )
            pair = self._material.routes[domain].key_pair
            if route.client_certificate is not None and pair is not None:
                yield from self._certificate_findings(
                    route.client_certificate, pair, (*key, "client_certificate")
                )


def _usual_port(listener: Listener) -> int:
    return 465 if listener.tls == "implicit" else 25


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _is_public(last: Certificate) -> bool:
    """Whether the last certificate of a chain leads to a CA that this system trusts, by name.

    A system without a store cannot tell; then nothing is said.
    """
    try:
        return last.issuer in {each.subject for each in read_system_store()}
    except ConfigurationError:
        return True
