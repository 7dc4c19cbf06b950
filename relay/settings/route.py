"""Where mail goes: `[route]`. The field docstrings are the manual.

Knows no domain: that is the key it stands under.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.settings.table import CertificateFiles, Table
from relay.settings.values import Duration

__all__ = ["Route"]


class Route(Table):
    """The next hop of recipient domains.

    The key is the domain, `"*.example.org"` for its subdomains, or `"*"` for the default route,
    which only identified senders may use.
    """

    hosts: tuple[str, ...] = Field(min_length=1)
    """Next hops in order of priority, `"host:port"` (port 25 if left out). The first that is
    healthy gets the mail."""

    tls: Literal["verify", "fingerprint", "off"] = "verify"
    """`verify`: chain and name must be right. `fingerprint`: one of `pins` must match instead.
    `off`: no TLS, only for loopback hosts, or with `unsafe_plaintext`."""

    handshake: Literal["starttls", "implicit"] = "starttls"
    """How TLS starts at the next hop."""

    ca: tuple[Path, ...] = ()
    """PEM files of the CAs to trust for this route; empty: the system's."""

    server_name: str = ""
    """The name the next hop's certificate must have, and SNI; empty: the host's own name."""

    pins: tuple[str, ...] = ()
    """Public key pins for `tls = "fingerprint"`: `"spki:sha256:..."` or `"cert:sha256:..."`."""

    client_certificate: CertificateFiles | None = None
    """Our certificate towards this next hop."""

    unsafe_plaintext: bool = False
    """Allows `tls = "off"` to a host that is not loopback. Mail then crosses the network in clear."""

    xclient: bool = False
    """Tell the next hop the client's address, name and identity (LOGIN) by XCLIENT, if it offers it."""

    xforward: bool = False
    """The same by XFORWARD, for its logs only."""

    verify_recipients: bool = True
    """Ask the next hop at RCPT time, so that its refusal is our refusal, recipient by recipient."""

    recipient_cache: Duration = timedelta(minutes=5)
    """How long the answer "yes" of the next hop to a recipient is remembered; "no" at most a minute."""

    remove_headers: tuple[str, ...] = ()
    """Header fields to take out of mail that goes this way, besides those of the listener: see there."""

    received: Literal["keep", "pseudonymise", "remove"] = "keep"
    """What becomes of Received fields on this way; the stricter word, this or the listener's, counts."""

    max_connections: int = Field(default=100, ge=1)
    """Connections to one next hop, per worker."""

    max_messages_per_connection: int = Field(default=0, ge=0)
    """Messages on one connection before a new one is made; 0: no limit."""

    idle_timeout: Duration = timedelta(seconds=60)
    """An unused connection is closed after this time."""

    connect_timeout: Duration = timedelta(seconds=30)
    """TCP connection and TLS handshake, each."""

    command_timeout: Duration = timedelta(minutes=5)
    """Banner, EHLO, MAIL and RCPT, each (RFC 5321 4.5.3.2: 5 minutes)."""

    data_timeout: Duration = timedelta(minutes=3)
    """Each block of the message (RFC 5321 4.5.3.2.5: 3 minutes), and the 354 before it."""

    final_timeout: Duration = timedelta(minutes=10)
    """The reply to the final dot (RFC 5321 4.5.3.2.6: 10 minutes)."""
