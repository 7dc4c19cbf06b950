"""What the operator does on the command line, put on record in the audit trail.

An act is done first and recorded then: to suspend somebody must work with a full disk, too. Knows
nothing of what the acts mean.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from typing import TYPE_CHECKING

import typer

from relay.errors import Unavailable

if TYPE_CHECKING:
    from relay.cli.site import Site

__all__ = ["operator", "put_on_record"]


def operator() -> str:
    """The name of whoever gives the command, also behind sudo."""
    user = os.getuid()
    if user == 0 and "SUDO_USER" in os.environ:
        return os.environ["SUDO_USER"]
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # in a container, say
        return str(user)


def put_on_record(site: Site, action: str, target: str, **fields: object) -> None:
    """Record an act that has been done; say so on standard error if that is not possible.

    Before the first start there is no state folder, hence no trail, and nothing is recorded.
    """
    if site.audit is None or not site.audit.parent.is_dir():
        return
    from relay.audit.log import AuditLog

    trail = AuditLog(site.audit, sync="second", node=site.hostname)
    act = {"action": action, "user": operator(), "target": target} | fields
    try:
        trail.record("admin", act)
        asyncio.run(trail.close())
    except (Unavailable, OSError) as error:
        typer.echo(f"this is done, but not on record: {error}", err=True)
