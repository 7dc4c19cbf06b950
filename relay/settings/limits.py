"""What clients may take, and how long: `[limits]` and `[timeouts]`. The field docstrings are the manual.

Rates are no matter of these: `[[limit]]`s of the policy are.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from relay.settings.table import Table
from relay.settings.values import Duration, Size

__all__ = ["Limits", "Timeouts"]


class Limits(Table):
    """What one client, one message and all of them together may take."""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections at a time, over all listeners and workers."""

    max_message_bytes: Size = 64 * 1024**2
    """Largest message, offered as SIZE; a smaller SIZE of the next hop wins."""

    max_recipients: int = Field(default=1000, ge=100)
    """Recipients of a message (RFC 5321 4.5.3.1.8: at least 100), offered as LIMITS RCPTMAX."""

    max_messages_per_connection: int = Field(default=0, ge=0)
    """Messages on one connection, then 421; 0: no limit."""

    max_line_bytes: int = Field(default=998, ge=998)
    """Longest line of a message without CRLF (RFC 5321 4.5.3.1.6: 998)."""

    max_errors: int = Field(default=10, ge=1)
    """Refused or wrong commands on a connection before it ends with 421."""

    max_received: int = Field(default=50, ge=10)
    """Received header fields before a message counts as looping (RFC 5321 6.3)."""

    memory_budget: Size = 1024**3
    """Memory for message bodies in flight, over all workers; 452 when it is spent."""


class Timeouts(Table):
    """How long a client may take. Each is for a whole phase: a byte a second gains no time."""

    handshake: Duration = timedelta(seconds=30)
    """A TLS handshake, and the PROXY protocol header."""

    greeting: Duration = timedelta(seconds=60)
    """From the connection to the client's identification (the end of the handshake and EHLO)."""

    command: Duration = timedelta(minutes=5)
    """One command (RFC 5321 4.5.3.2.7: 5 minutes)."""

    data: Duration = timedelta(minutes=10)
    """A message, plus what `data_rate` grants for its size."""

    data_rate: Size = 1024
    """Bytes a second that a sender must at least reach in a message longer than `data` allows."""

    drain: Duration = timedelta(seconds=30)
    """At a stop: how long transactions in flight may take to finish."""
