"""What the policy may do, and its checks may take: `[policy]` and `[checks]`. The field docstrings are the manual.

A check's own table stands in its file of `relay/checks`; `catalogue.py` adds it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from relay.settings.table import Table
from relay.settings.values import Duration, NetworkField

__all__ = ["Checks", "Policy"]


class Policy(Table):
    """What the policy may do to clients. The rules stand in files of their own: see `listener.policy`."""

    exempt: tuple[NetworkField, ...] = ()
    """Networks that are never banned, whatever a rule says: monitoring, your own hosts. Loopback, the load
    balancers of `proxy_protocol_from` and this machine's own addresses, as they were at the start, never are;
    name one that comes and goes, or that stands for this machine elsewhere (NAT)."""

    banned: Literal["permanent", "temporary"] = "permanent"
    """What a banned address hears instead of a banner: `permanent` (554) or `temporary` (421: honest
    senders keep the mail and come again)."""

    max_duration: Duration = timedelta(days=30)
    """The longest ban or suspension. Each one within the memory of the last lasts twice as long as that."""


class Checks(Table):
    """What checks find out, and what they may take for it. Each has a table of its own below this one."""

    timeout: Duration = timedelta(seconds=5)
    """How long a check may take that asks somebody else (the DNS, say), unless its own table has a
    `timeout`. What is not known by then is unknown, and the rule's `on_error` says what follows."""

    country_database: Path | None = None
    """A file in MaxMind's format (GeoLite2-Country.mmdb, say) for the fact `peer.country`. Needs the
    package maxminddb: `pip install "gatepost[country]"`."""
