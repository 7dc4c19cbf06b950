"""Two ends of a connection in memory: `ports.Stream` without a socket.

What one end sends the other receives, at once or after a delay; either end can drop the line, go
deaf, or have its TLS handshake come out as the test wants. It knows no SMTP.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from relay.errors import ConnectionLost, DeadlinePassed
from relay.model import Endpoint, TlsFacts

if TYPE_CHECKING:
    from datetime import timedelta

    from relay.ports import ClientTls, ServerTls

__all__ = ["TLS13", "MemoryStream", "stream_pair"]

TLS13 = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519MLKEM768", resumed=False)


class MemoryStream:
    """One end. Made by `stream_pair`.

    Set before use: `handshake` (the facts a handshake ends with, or the exception it raises),
    `delay` (seconds until the other end sees what is sent), `high_water` (unread bytes at the
    other end from which on `drain` waits; None: never).
    """

    def __init__(self, local: Endpoint, peer: Endpoint) -> None:
        self.local = local
        self.peer = peer
        self.tls: TlsFacts | None = None
        self.handshake: TlsFacts | Exception = TLS13
        self.delay = 0.0
        self.high_water: int | None = None
        self.sent: list[bytes] = []
        """What was sent, one entry a call of `send`."""
        self.server_name = ""
        """The name the client's side of a handshake asked for."""
        self._other: MemoryStream
        self._unread = bytearray()
        self._is_at_end = False
        self._is_lost = False
        self._is_closed = False
        self._deadline: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reader_moved: asyncio.Future[None] | None = None

    async def receive(self) -> bytes:
        while not self._unread:
            if self._is_lost or self._is_closed:
                raise ConnectionLost("connection reset")
            if self._is_at_end:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._until_deadline(self._waiter)
        data = bytes(self._unread)
        self._unread.clear()
        self._other._wake_drain()
        return data

    def send(self, *chunks: bytes) -> None:
        if self._is_closed or self._is_lost:
            return
        data = b"".join(chunks)
        self.sent.append(data)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._other._arrive, data)
        else:
            self._other._arrive(data)

    async def drain(self) -> None:
        while self.high_water is not None and len(self._other._unread) > self.high_water:
            self._check()
            self._reader_moved = asyncio.get_running_loop().create_future()
            await self._until_deadline(self._reader_moved)
        self._check()

    def set_deadline(self, after: timedelta | None) -> None:
        if after is None:
            self._deadline = None
        else:
            self._deadline = asyncio.get_running_loop().time() + after.total_seconds()
        if self._timeout is not None:  # who waits already is bound by the new deadline
            self._timeout.reschedule(self._deadline)

    async def start_tls_server(self, tls: ServerTls) -> TlsFacts:
        if self._unread:
            raise ConnectionLost("plain text in front of the handshake")
        return await self._shake_hands()

    async def start_tls_client(self, tls: ClientTls, server_name: str) -> TlsFacts:
        self.server_name = server_name
        return await self._shake_hands()

    async def close(self, last_words: bytes = b"") -> None:
        if last_words:
            self.send(last_words)
        if not self._is_closed:
            self._is_closed = True
            self._other._reach_end()
        self._wake()

    def abort(self) -> None:
        """Close at once; the other end sees a reset."""
        self._is_closed = True
        self._wake()
        self._other.drop()

    def drop(self) -> None:
        """Lose the line at this end: what was received may still be read, then it is a reset."""
        self._is_lost = True
        self._wake()

    @property
    def is_closing(self) -> bool:
        return self._is_closed or self._is_lost or self._is_at_end

    @property
    def has_unread(self) -> bool:
        return bool(self._unread)

    @property
    def is_aborted_by_peer(self) -> bool:
        """Whether the line was lost rather than closed in order."""
        return self._is_lost

    async def _shake_hands(self) -> TlsFacts:
        await asyncio.sleep(0)
        self._check()
        if isinstance(self.handshake, Exception):
            raise self.handshake
        self.tls = self.handshake
        return self.tls

    async def _until_deadline(self, waiter: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout_at(self._deadline) as self._timeout:
                await waiter
        except TimeoutError:
            raise DeadlinePassed("too slow") from None
        finally:
            self._timeout = None

    def _check(self) -> None:
        if self._is_lost or self._is_closed:
            raise ConnectionLost("connection reset")

    def _arrive(self, data: bytes) -> None:
        if not self._is_closed:
            self._unread += data
            self._wake()

    def _reach_end(self) -> None:
        self._is_at_end = True
        self._wake()

    def _wake(self) -> None:
        self._wake_waiter(self._waiter)
        self._wake_waiter(self._reader_moved)

    def _wake_drain(self) -> None:
        self._wake_waiter(self._reader_moved)

    @staticmethod
    def _wake_waiter(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None:
            with suppress(asyncio.InvalidStateError):
                waiter.set_result(None)


def stream_pair(
    client: Endpoint = Endpoint("192.0.2.7", 40007),
    server: Endpoint = Endpoint("192.0.2.25", 25),
) -> tuple[MemoryStream, MemoryStream]:
    """Return the client's end and the server's end of a new connection."""
    one, other = MemoryStream(client, server), MemoryStream(server, client)
    one._other, other._other = other, one
    return one, other
