"""Where mail comes in: `[[listener]]`. The field docstrings are the manual.

Says nothing of what the policy makes of a client; the files it names do.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.settings.table import CertificateFiles, Table
from relay.settings.values import Duration, NetworkField

__all__ = ["Listener"]


class Listener(Table):
    """An address where mail comes in, and what a client must show there."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Short name for logs, metrics and the audit: lower-case letters, digits, `-` and `_`."""

    address: str
    """Where to listen: `"0.0.0.0:25"`, `"[::]:465"`, `"127.0.0.1:2525"` or `"unix:/run/gatepost.sock"`."""

    tls: Literal["starttls", "implicit"] = "starttls"
    """`starttls`: the client asks for TLS (ports 25, 587); `implicit`: TLS from the first byte (465)."""

    client_certificate: Literal["required", "optional", "off"] = "required"
    """`required`: nobody speaks without a trusted certificate. `optional`: asked for, and whoever
    has none may send to the domains of `[route]` only. `off`: not asked for."""

    profile: Literal["modern", "intermediate"] = "intermediate"
    """`modern`: TLS 1.3 only. `intermediate`: TLS 1.2 too, with AEAD and forward secrecy only."""

    certificate: tuple[CertificateFiles, ...] = Field(min_length=1)
    """Our server certificates; SNI and the client's signature algorithms choose, the first is the default."""

    client_ca: tuple[Path, ...] = ()
    """PEM files of the CAs whose certificates identify clients by `names`; pins need none."""

    revocation: Literal["hard", "soft", "off"] = "soft"
    """What follows when a CA of `client_ca` cannot be heard about a certificate of its own. `soft`: only
    revoked ones are refused. `hard`: those that nothing is known of too, with 451, until something is.
    `off`: nobody is asked. A pinned certificate that no such CA vouches for is not concerned. An
    identity or a `[[revocation.authority]]` may say otherwise for itself."""

    must_staple: Literal["warn", "refuse"] = "warn"
    """What follows at a start and a reload if a certificate of `certificate` demands an OCSP answer beside it
    (RFC 7633) and there is none: `warn` says so and goes on, `refuse` does not start."""

    refusal: Literal["temporary", "permanent"] = "temporary"
    """How a client without a good certificate is refused: `temporary` (421, honest senders keep
    the mail and try again once you have fixed the pin) or `permanent` (550)."""

    terminate: Literal["next_command", "immediately"] = "next_command"
    """How a session ends whose client is not trusted any more (its pin was removed or has expired, it
    was suspended or revoked), within a second. `next_command`: the command at the next hop is
    finished and answered, so that a message that was taken is acknowledged; then 421. `immediately`:
    the connection is cut, also while the next hop is being asked."""

    proxy_protocol_from: tuple[NetworkField, ...] = ()
    """Networks of load balancers that must send a PROXY protocol header (v1 or v2)."""

    banner_delay: Duration = timedelta(0)
    """Wait this long before the banner; who talks earlier is refused (554 5.5.0)."""

    policy: tuple[str, ...] = ("defaults",)
    """The rules for this listener: files with `[[rule]]`s and `[lists]`, in this order; `"defaults"` stands
    for those that come with the relay. A later file replaces a rule of an earlier one by its name.
    `[]`: no rules but those of the allowlist."""

    remove_headers: tuple[str, ...] = ()
    """Header fields to take out of mail that comes in here: names, `"X-Internal-*"` for all that begin so, and
    `"defaults"` for what commonly tells of the inside (X-Originating-IP and its like, Bcc). A field that a
    signature in the message covers stays."""

    received: Literal["keep", "pseudonymise", "remove"] = "keep"
    """What becomes of Received fields of those before us, and of the client's name and address in ours.
    `pseudonymise`: names and addresses are replaced; one that comes again has the same pseudonym until the
    next start or reload, and the audit trail knows the real one. `remove`: the fields are taken out. Signed ones stay."""

    max_connections_per_address: int = Field(default=50, ge=0)
    """Connections from one address at a time, over all workers; 0: no limit."""
