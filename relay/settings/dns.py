"""How names are looked up: `[dns]`. The field docstrings are the manual.

How a server is written, `net/name_servers.py` knows.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from relay.settings.table import Table
from relay.settings.values import Duration, Size

__all__ = ["Dns"]


class Dns(Table):
    """How names are looked up. Answers are kept in memory, in each worker, as long as their TTL allows."""

    servers: tuple[str, ...] = ()
    """Name servers in order of preference: `"127.0.0.1"`, `"[2001:db8::53]:5353"`, or
    `"tls://192.0.2.53#dns.example.org"` for DNS over TLS to a server of that name. Empty: those of
    `/etc/resolv.conf`."""

    timeout: Duration = timedelta(seconds=2)
    """How long to wait for one server."""

    attempts: int = Field(default=3, ge=1, le=10)
    """How often a question is put in all, to the servers in turn. Without an answer then, mail that
    depends on it is deferred."""

    max_in_flight: int = Field(default=500, ge=1, le=20_000)
    """Questions under way at a time, per worker; more of them wait."""

    cache_bytes: Size = 16 * 1024**2
    """Memory for answers, per worker; the least used go first."""

    min_ttl: Duration = timedelta(seconds=5)
    """An answer is kept at least this long, so that a message is judged by one state of the DNS."""

    max_ttl: Duration = timedelta(days=1)
    """And at most this long."""

    negative_ttl: Duration = timedelta(minutes=15)
    """How long "there is no such name" or "no such record" is kept at most (RFC 2308 5)."""

    failure_ttl: Duration = timedelta(seconds=5)
    """How long a question that got no answer is not asked again (RFC 9520 3.2: 1 second to 5 minutes)."""

    trust_ad: bool = False
    """Whether the servers validate DNSSEC themselves and are believed to (RFC 4035 4.9.3): the bit AD of
    their answers counts then. Only for servers on this machine or over TLS."""
