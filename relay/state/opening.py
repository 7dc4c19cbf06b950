"""Opens the store that the settings ask for. Knows the kinds of stores, and nothing of their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.state.memory import MemoryStore
from relay.state.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from relay.ports import Store
    from relay.settings.state import State

__all__ = ["open_store"]


def open_store(state: State, folder: Path) -> Store:
    """Open the store in the process that will use it: none survives a fork.

    A store that is elsewhere is not asked yet: it may come later. Upkeep of a file is a matter of its
    own (`sqlite_upkeep.keep_up`).

    Args:
        state: the settings.
        folder: the state folder, which must be there.

    Raises:
        ConfigurationError: the file can't be opened, or what settings name can't be read.
    """
    if state.kind == "memory":
        return MemoryStore()
    if state.kind == "sqlite":
        return SqliteStore.open(folder, state.timeout)
    from relay.state.redis import open_redis  # noqa: PLC0415  0.1 s that others need not wait

    return open_redis(state)
