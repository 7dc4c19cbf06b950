"""How commands get at what workers and nodes remember together: the store of a configuration.

Opens it, asks once, closes it; what is asked is the commands' business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from relay.cli.output import progress
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from relay.ports import Store
    from relay.settings import Settings
    from relay.settings.state import State

__all__ = ["ask_store", "use_store"]

_T = TypeVar("_T")


def ask_store(settings: Settings, act: Callable[[Store], Awaitable[_T]]) -> _T:
    """Do something with the store of a configuration.

    Raises:
        ConfigurationError: nobody shares that store, or it can't be opened.
        Unavailable: it doesn't answer in time.
    """
    if settings.state.kind == "memory":
        remedy = 'use `[state] kind = "sqlite"` or "redis"'
        raise ConfigurationError("each worker keeps its state to itself", remedy=remedy)
    if settings.state.kind == "sqlite" and not settings.state_dir.is_dir():
        raise ConfigurationError(
            f"the state folder {settings.state_dir} is not there",
            remedy="start the relay once with `gatepost run`, or make the folder",
        )
    with progress("Asking the store"):
        return use_store(settings.state, settings.state_dir, act)


def use_store(state: State, folder: Path, act: Callable[[Store], Awaitable[_T]]) -> _T:
    """Open a store, do something with it, and close it.

    Raises:
        ConfigurationError: it can't be opened.
        Unavailable: it doesn't answer in time.
    """
    from relay.state.opening import open_store

    async def used() -> _T:
        store = open_store(state, folder)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(used())
