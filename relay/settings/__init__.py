"""Settings as types: the configuration file, key by key. The field docstrings are the manual.

One file a table, or few that belong together; here they are put together. `docs/configuration.md` and
the JSON schema are generated from them (`make docs`). Nothing here reads a file; `config.py` does, and
turns every mistake into file, line and remedy.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from relay.settings.ca import Ca, Est
from relay.settings.dns import Dns
from relay.settings.limits import Limits, Timeouts
from relay.settings.listener import Listener
from relay.settings.mailauth import AuthenticationResults, Dkim, DmarcReports, Doctor
from relay.settings.operation import Admin, Audit, Log
from relay.settings.policy import Checks, Policy
from relay.settings.revocation import Revocation
from relay.settings.route import Route
from relay.settings.state import State
from relay.settings.table import Table

__all__ = ["Settings"]


class Settings(Table):
    """The configuration file, `gatepost.toml`, plus what stands in `conf.d/*.toml` beside it."""

    hostname: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
    """Our name, in the banner, in EHLO towards next hops and in Received."""

    state_dir: Path = Path("state")
    """Folder for the audit trail, the control socket and all that is kept."""

    workers: int = Field(default=0, ge=0, le=256)
    """Worker processes; 0: one per core."""

    user: str = ""
    """The user the workers run as, if the relay is started as root; empty: no change. It has to be able to read
    Python and Gatepost."""

    allowlist: Path = Path("allowlist.toml")
    """The file with the identities (`[[identity]]`), written by hand or by `gatepost pin`."""

    listener: tuple[Listener, ...] = Field(min_length=1)
    """Where mail comes in."""

    route: dict[str, Route] = Field(min_length=1)
    """Where mail goes, by recipient domain."""

    ca: Ca = Ca()
    """Our own CA."""

    est: Est = Est()
    """Enrolment."""

    admin: Admin = Admin()
    """Probes and figures."""

    limits: Limits = Limits()
    """Limits."""

    timeouts: Timeouts = Timeouts()
    """Deadlines for clients."""

    state: State = State()
    """What is remembered."""

    policy: Policy = Policy()
    """What rules may do."""

    checks: Checks = Checks()
    """What rules may ask."""

    authentication_results: AuthenticationResults = AuthenticationResults()
    """What is told of what was found out."""

    revocation: Revocation = Revocation()
    """Revocation lists."""

    dns: Dns = Dns()
    """Name servers."""

    dkim: Dkim = Dkim()
    """Signatures of our own."""

    doctor: Doctor = Doctor()
    """Domains that are watched."""

    dmarc_reports: DmarcReports = DmarcReports()
    """Reports to others."""

    audit: Audit = Audit()
    """Evidence."""

    log: Log = Log()
    """Application log."""
