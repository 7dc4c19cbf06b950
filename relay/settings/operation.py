"""What operators read of a relay: `[admin]`, `[audit]` and `[log]`. The field docstrings are the manual.

Knows no metric and no field of a record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from relay.settings.table import Table

__all__ = ["Admin", "Audit", "Log"]


class Admin(Table):
    """State and figures of this relay over HTTP, for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`."""

    address: str = ""
    """Where to listen, in plain HTTP: `"127.0.0.1:9025"` or `"unix:/run/gatepost/admin.sock"`. Empty: nowhere."""

    unsafe_bind: bool = False
    """Allows an `address` that is not of this machine alone. Whoever reaches it then reads how much mail passes here."""


class Audit(Table):
    """The audit trail: one JSON line a handshake, refusal, transaction and administrative act."""

    path: Path = Path("audit.jsonl")
    """The file, appended to; relative to `state_dir`. Reopened at SIGUSR1 (log rotation)."""

    sync: Literal["second", "always"] = "second"
    """`second`: on disk within a second. `always`: on disk before each reply."""


class Log(Table):
    """The application log, on standard error."""

    format: Literal["auto", "human", "json"] = "auto"
    """`auto`: for people on a terminal, JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged at all."""
