"""What `gatepost init` lays down in a folder: configuration, CA, certificates, allowlist.

Makes files and prints nothing, so that `gatepost demo` and tests use it too. Nothing is ever written
over.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, NamedTuple

from relay.allowlist_file import add_identity
from relay.ca_folder import CaFolder, IssuedFiles, create_ca, issue_to_files
from relay.errors import ConfigurationError
from relay.key_files import write_new
from relay.pki.issuing import Subject
from relay.pki.pins import format_pin, pin_of
from relay.settings.values import is_host_name, is_loopback, parse_endpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEFAULT_LISTEN", "DEFAULT_UPSTREAM", "NewSite", "create_site"]

DEFAULT_LISTEN = "127.0.0.1:2525"
DEFAULT_UPSTREAM = "127.0.0.1:2526"
EXAMPLE_SENDERS = ["@example.org"]

_SERVER_DAYS = 365
_CLIENT_DAYS = 90

_CONFIGURATION = """\
# Gatepost: who may send mail through here, and where it goes. Every key: docs/configuration.md.
# After a change: `gatepost check`, and a running relay takes it over (or `gatepost reload`).

# Our name, in the banner, in EHLO and in Received: what the DNS calls this machine.
hostname = {hostname}

# The audit trail and the control socket; /var/lib/gatepost in production.
state_dir = "state"

# The identities that may send, with their pins: edited by hand or by `gatepost pin`.
allowlist = "allowlist.toml"

[[listener]]
name = "edge"
# For the world: "0.0.0.0:25", and another [[listener]] for "[::]:25".
address = {listen}
# "implicit" for port 465.
tls = "starttls"
# "optional": who has no certificate may send to the domains of [route] only.
client_certificate = "required"
certificate = [{{ chain = "tls/edge.pem", key = "tls/edge.key" }}]
# CAs whose certificates identify clients by `names`; pins need none.
client_ca = ["ca/root.pem"]

# The way out for all domains that have no [route."example.org"] of their own. Only senders with an
# identity may use it. Until something answers there, mail is refused with 451: senders keep it and
# come again, nothing is lost.
[route."*"]
hosts = [{upstream}]
# The next hop must have a certificate for its name. Without `ca`, of a CA that this system trusts.
tls = "verify"
{ca}
# Our own certificate, for a next hop that asks who we are.
client_certificate = {{ chain = "tls/edge.pem", key = "tls/edge.key" }}

[limits]
# Each may need two file descriptors: see LimitNOFILE= (systemd) or `ulimit -n`. Default: 10000.
max_connections = 1000

# Our CA on the network: its revocation lists and OCSP, and enrolment (docs/certificates.md).
# [ca]
# url = "http://edge.example.org"
# address = "0.0.0.0:80"
# [est]
# address = "0.0.0.0:8443"
# certificate = {{ chain = "tls/edge.pem", key = "tls/edge.key" }}

# For probes and Prometheus: /healthz, /readyz, /metrics.
# [admin]
# address = "127.0.0.1:9025"
"""

_OWN_CA = 'ca = ["ca/root.pem"]'
_SYSTEM_CA = '# ca = ["ca/next-hop.pem"]'

_ALLOWLIST = """\
# Who may send through this relay: one [[identity]] each. `gatepost pin` edits this file, so may you;
# a running relay takes it over when it changes. certs/README.md says how pins work.
#
# pins        the key ("spki:sha256:...") or the certificate ("cert:sha256:..."); a second pin is
#             the successor, so that keys roll without a gap
# senders     the addresses it may send as: "user@example.org", "@example.org", "@.example.org"
# recipients  whom it may send to; all, if left out
# networks    where it may come from; anywhere, if left out
# contact     whom to ask about it
"""


class NewSite(NamedTuple):
    """What was made."""

    folder: Path
    configuration: Path
    allowlist: Path
    ca: CaFolder
    server: IssuedFiles
    client: IssuedFiles
    client_name: str

    @property
    def files(self) -> dict[Path, str]:
        """All that was made, and what each is."""
        return {
            self.configuration: "the configuration",
            self.allowlist: "who may send",
            self.ca.certificate_path: "our CA: what partners must trust",
            self.ca.key_path: "its key: keep it secret, or elsewhere",
            self.server.chain_path: "the certificate of this relay",
            self.server.key_path: "its key",
            self.client.chain_path: f'the certificate of the first client, "{self.client_name}"',
            self.client.key_path: "its key: give both to the client",
        }


def create_site(
    folder: Path,
    hostname: str,
    *,
    listen: str = DEFAULT_LISTEN,
    upstream: str = DEFAULT_UPSTREAM,
    client_name: str = "first",
) -> NewSite:
    """Make everything that `gatepost run` needs.

    Args:
        folder: where to; made if it is not there.
        hostname: this machine's name.
        listen: the address of the one listener.
        upstream: the next hop of all mail; on this machine, it is expected to have a certificate
            of the new CA, elsewhere one of a CA that this system trusts.
        client_name: of the first client, pinned in the allowlist.

    Raises:
        ConfigurationError: one of the files is there already (then nothing is made), or a name or
            address is wrong.
    """
    _check(hostname, listen, upstream)
    for name in ("gatepost.toml", "allowlist.toml", "ca", "tls", "clients"):
        if (folder / name).exists():
            raise ConfigurationError(
                "it is there already, and nothing is ever written over",
                remedy='choose another folder: "gatepost init DIR"',
                path=folder / name,
            )
    ca = create_ca(folder / "ca", f"Gatepost CA of {hostname}")
    names = dict.fromkeys([f"dns:{hostname}", "dns:localhost", "ip:127.0.0.1", "ip:::1"])
    server = issue_to_files(
        ca,
        Subject(hostname, tuple(names), "server"),
        folder / "tls",
        file_name="edge",
        days=_SERVER_DAYS,
    )
    client = issue_to_files(ca, Subject(client_name), folder / "clients", days=_CLIENT_DAYS)
    (folder / "clients").chmod(0o700)
    (folder / "ca").chmod(0o700)
    allowlist = folder / "allowlist.toml"
    write_new(allowlist, _ALLOWLIST.encode())
    add_identity(
        allowlist,
        {
            "name": client_name,
            "pins": [format_pin(pin_of(client.certificate))],
            "senders": EXAMPLE_SENDERS,
        },
    )
    configuration = folder / "gatepost.toml"
    write_new(configuration, _configuration(hostname, listen, upstream).encode())
    return NewSite(folder, configuration, allowlist, ca, server, client, client_name)


def _configuration(hostname: str, listen: str, upstream: str) -> str:
    is_here = is_loopback(parse_endpoint(upstream, default_port=25).address)
    return _CONFIGURATION.format(
        hostname=json.dumps(hostname),
        listen=json.dumps(listen),
        upstream=json.dumps(upstream),
        ca=_OWN_CA if is_here else _SYSTEM_CA,
    )


def _check(hostname: str, listen: str, upstream: str) -> None:
    """Refuse what the new configuration would be refused for."""
    if not (hostname.isascii() and is_host_name(hostname)) or "_" in hostname:
        raise ConfigurationError(
            f'"{hostname}" is no host name', remedy="give one with --hostname edge.example.org"
        )
    for option, text, port in (("--listen", listen, None), ("--upstream", upstream, 25)):
        try:
            endpoint = parse_endpoint(text, port)
            if port is None:
                ipaddress.ip_address(endpoint.address)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            remedy = remedy or 'give an IP address and a port, as "0.0.0.0:25"'
            raise ConfigurationError(f"{option}: {problem}", remedy=remedy) from None
