"""What is worth saying about rights: files that the relay uses as `user`, and that are closed to that user.

Says nothing where only root could know, and we are not. Whether the program itself can be read, the start says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from relay.ca_folder import CaFolder
from relay.cli.finding import Finding
from relay.rights import withheld_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.config import Configuration

__all__ = ["find_withheld"]

_CHANGE = os.R_OK | os.W_OK | os.X_OK
"""What it takes to put a new file into a folder."""


def find_withheld(configuration: Configuration) -> Iterator[Finding]:
    """Say what publishing and enrolment need of the disk, and will not get."""
    settings = configuration.settings
    user, enrols = settings.user, bool(settings.est.address)
    if settings.ca.address or enrols:
        withheld = withheld_from(user, _of_ca(CaFolder(settings.ca.folder), enrols=enrols))
        if withheld:
            yield Finding(
                "error",
                str(configuration.origin("ca", "folder")),
                f'the user "{user}" cannot use what our CA needs: {_listed(withheld)}',
                f"chown -R {user} {settings.ca.folder}",
            )
    allowlist = settings.allowlist
    wanted = [(allowlist, os.R_OK), (allowlist.parent, _CHANGE)]
    if enrols and (withheld := withheld_from(user, wanted)):
        yield Finding(
            "error",
            str(configuration.origin("allowlist")),
            f'the user "{user}" cannot enter who enrols: {_listed(withheld)}',
            f"keep the allowlist in a folder of its own, and chown -R {user} that folder",
        )


def _of_ca(ca: CaFolder, *, enrols: bool) -> Iterator[tuple[Path, int]]:
    """What is read to publish; enrolment signs, and keeps records. A key may be withheld from who publishes."""
    for path in sorted(ca.folder.glob("*")):
        if path.suffix == ".jsonl":
            yield path, os.R_OK | os.W_OK if enrols else os.R_OK
        elif path.suffix in {".pem", ".der"}:
            yield path, os.R_OK
    if enrols:
        yield ca.folder, _CHANGE
        yield ca.issuing_key_path if ca.issuing_path.exists() else ca.key_path, os.R_OK


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
