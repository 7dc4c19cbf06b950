"""A served table of paths on loopback, on a thread of its own, for a raw client to talk to.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from relay.net.listener import open_sockets

if TYPE_CHECKING:
    from relay.admin.server import HttpServer

_SECONDS = 20


class Served:
    """Serves while it is a context.

    Args:
        server: what to serve.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._sockets = open_sockets("127.0.0.1:0")
        self.port: int = self._sockets[0].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(self._sockets), self._loop).result(
            _SECONDS
        )
        return self

    def __exit__(self, *_: object) -> None:
        closed = asyncio.run_coroutine_threadsafe(self._server.close(1), self._loop)
        closed.result(_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
