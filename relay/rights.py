"""What another user may do with files: asked of the kernel, by a process that has become that user.

Knows nothing of what the files are for.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["become_user", "withheld_from"]


def become_user(user: str) -> None:
    """Give up root's rights for those of a user; without them, or without a user, nothing changes.

    Raises:
        KeyError: there is no such user.
    """
    if user and os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def withheld_from(user: str, wanted: Iterable[tuple[Path, int]]) -> list[Path]:
    """Return the paths that a user cannot use; none where we could not become that user, or there is none.

    Args:
        user: whom to ask for.
        wanted: paths, and what for: `os.R_OK`, `os.W_OK`, `os.X_OK`.
    """
    if not user or os.geteuid() != 0:
        return []
    wanted = list(wanted)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_user(user)
            os.write(writing, bytes(os.access(path, mode) for path, mode in wanted))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        is_given = answer.read()
    os.waitpid(pid, 0)
    # Where there is no such user, there is no answer.
    return [path for (path, _), given in zip(wanted, is_given, strict=False) if not given]
