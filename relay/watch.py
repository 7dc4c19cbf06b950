"""Which files have changed on disk since they were last looked at.

Compares modification time, size and inode, so that a file replaced by rename is seen too. Reads no
contents and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FileWatch"]


class FileWatch:
    """Remembers the state of some files as of its making."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._signatures = {path: _signature(path) for path in paths}

    def of(self, paths: Iterable[Path]) -> FileWatch:
        """Watch other files, those among them that were watched before as of then.

        For what is read again: what changes while it is being read must not be missed.
        """
        watch = FileWatch(paths)
        for path in watch._signatures.keys() & self._signatures.keys():
            watch._signatures[path] = self._signatures[path]
        return watch

    def has_changed(self) -> bool:
        """Whether one of them is not what it was, has come or has gone."""
        return any(_signature(path) != seen for path, seen in self._signatures.items())


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
