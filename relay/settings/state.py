"""What workers and nodes remember together: `[state]`. The field docstrings are the manual.

How a server is written, `state/redis_address.py` knows.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from relay.settings.table import CertificateFiles, Table
from relay.settings.values import Duration

__all__ = ["State"]


class State(Table):
    """What workers and nodes remember together: counters of limits, reputation, bans. See [state](state.md)."""

    kind: Literal["sqlite", "redis", "memory"] = "sqlite"
    """`sqlite`: a file in `state_dir`, shared by all workers of this host. `redis`: a Valkey or Redis that
    any number of nodes share. `memory`: each worker for itself until it stops, for trials."""

    timeout: Duration = timedelta(seconds=1)
    """How long to wait for it; then the rules that need it do what their `on_error` says."""

    url: tuple[str, ...] = ()
    """For `redis`: `"redis://state.internal:6379"`, or `rediss://` for TLS. Several for `sentinel` and
    `cluster`: those to ask for the others."""

    topology: Literal["standalone", "sentinel", "cluster"] = "standalone"
    """`standalone`: one server. `sentinel`: `url` names the Sentinels. `cluster`: `url` names some nodes."""

    service: str = ""
    """With Sentinel, the name of the master."""

    database: int = Field(default=0, ge=0)
    """The number of the database; a Cluster has 0 only."""

    username: str = ""
    """The user of the ACL; empty: the default user."""

    password: SecretStr | None = None
    """Its password; better in `password_file`, or in a file that `$GATEPOST_STATE__PASSWORD_FILE` names."""

    password_file: Path | None = None
    """A file that holds the password and nothing else."""

    sentinel_username: str = ""
    """The user towards the Sentinels, if they have users of their own."""

    sentinel_password_file: Path | None = None
    """A file with the password towards the Sentinels; left out: they ask for none."""

    ca: Path | None = None
    """PEM file of the CAs to trust with `rediss://`; left out: the system's."""

    client_certificate: CertificateFiles | None = None
    """Our certificate, where the server asks for one."""

    prefix: str = Field(default="gatepost:", pattern=r"^[A-Za-z0-9._:-]{0,64}$")
    """What the names of all keys begin with. Relays with the same prefix are one fleet."""
