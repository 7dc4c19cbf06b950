"""The process that does the upkeep of the state file: one on a host, forked by the supervisor.

Not a thread of a worker: a thread that has waited for the disk wants the interpreter back, and where
all cores are busy the worker's event loop waits with it, for 10 ms and more. What is to be done, and
when, is `state.sqlite_upkeep`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from relay.side_process import SideProcess
from relay.state.sqlite import SqliteStore
from relay.state.sqlite_upkeep import keep_up

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable

    from relay.settings import Settings

__all__ = ["StateProcess", "keep_up_state"]


class StateProcess(SideProcess):
    """The supervisor's side."""

    def __init__(
        self, selector: selectors.BaseSelector, become: Callable[[socket.socket], NoReturn]
    ) -> None:
        super().__init__("upkeep of the state", selector, become, lambda _: None)


async def keep_up_state(settings: Settings, control: socket.socket) -> None:
    """Do the upkeep until the supervisor is gone.

    Raises:
        ConfigurationError: the file can't be opened; workers say so, too.
    """
    reader, writer = await asyncio.open_connection(sock=control)
    store = SqliteStore.open(settings.state_dir, settings.state.timeout)
    upkeep = asyncio.create_task(keep_up(store, settings.state_dir))
    ended = asyncio.create_task(reader.read())
    await asyncio.wait({upkeep, ended}, return_when=asyncio.FIRST_COMPLETED)
    upkeep.cancel()
    await asyncio.wait({upkeep})
    writer.close()
    await store.close()
