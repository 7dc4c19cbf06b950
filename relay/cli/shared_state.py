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

    from relay.ports import Store
    from relay.settings import Settings

__all__ = ["ask_store"]

_T = TypeVar("_T")


def ask_store(settings: Settings, act: Callable[[Store], Awaitable[_T]]) -> _T:
    """Do something with the store of a configuration.

    Raises:
        ConfigurationError: nobody shares that store, or it can't be opened.
        Unavailable: it doesn't answer in time.
    """
    from relay.state.opening import open_store

    if settings.state.kind == "memory":
        remedy = 'use `[state] kind = "sqlite"` or "redis"'
        raise ConfigurationError("each worker keeps its state to itself", remedy=remedy)
    if settings.state.kind == "sqlite" and not settings.state_dir.is_dir():
        raise ConfigurationError(
            f"the state folder {settings.state_dir} is not there",
            remedy="start the relay once with `gatepost run`, or make the folder",
        )

    async def asked() -> _T:
        store = open_store(settings.state, settings.state_dir)
        try:
            return await act(store)
        finally:
            await store.close()

    with progress("Asking the store"):
        return asyncio.run(asked())
