"""Real streams on loopback for tests: a listening socket, its streams, and a client's stream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.net.dialer import TcpDialer
from relay.net.listener import open_sockets, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from relay.net.send_buffer import SendBuffer
    from relay.net.stream import TcpStream

__all__ = ["Holding", "Loopback", "tcp_pair"]

_PATIENCE = timedelta(seconds=20)


class Holding:
    """Writes that hold everybody back until the test says otherwise."""

    def __init__(self) -> None:
        self.senders: list[SendBuffer] = []

    def add(self, sender: SendBuffer) -> None:
        self.senders.append(sender)


class Loopback:
    """A listener on a free port. Made by `Loopback.opened()`."""

    def __init__(self) -> None:
        [self._listening] = open_sockets("127.0.0.1:0")
        self.port = int(self._listening.getsockname()[1])
        self._accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        self._streams: list[TcpStream] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncIterator[Loopback]:
        """Listen while the block runs, and drop all its connections afterwards."""
        loopback = cls()
        server = await serve(loopback._listening, loopback._accepted.put_nowait)
        try:
            yield loopback
        finally:
            server.close()
            loopback._listening.close()
            while not loopback._accepted.empty():
                loopback._kept(loopback._accepted.get_nowait())
            for stream in loopback._streams:
                stream.abort()
            await asyncio.sleep(0)  # one turn of the loop, in which the transports close

    async def accept(self) -> TcpStream:
        """The next connection's stream, with a deadline so that no test hangs."""
        stream = await asyncio.wait_for(self._accepted.get(), 20)
        return self._kept(stream)

    async def connect(self) -> TcpStream:
        """Connect as a client."""
        return self._kept(await TcpDialer().connect("127.0.0.1", self.port, _PATIENCE))

    async def pair(self) -> tuple[TcpStream, TcpStream]:
        """A connection's two ends: the server's, the client's."""
        client = await self.connect()
        return await self.accept(), client

    def _kept(self, stream: TcpStream) -> TcpStream:
        stream.set_deadline(_PATIENCE)
        self._streams.append(stream)
        return stream


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[TcpStream, TcpStream]]:
    """One connection's two ends: the server's, the client's."""
    async with Loopback.opened() as loopback:
        yield await loopback.pair()
