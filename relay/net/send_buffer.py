"""What one connection has to send: in clear while the transport takes no more, then encrypted, then written.

Knows nothing of deadlines, nor of who waits for it to become low.

Theory of operation. What cannot be sent yet stays in the queue as it was given, not copied and not encrypted,
until the transport takes more. So a slow reader costs a reference to the message, not another copy. What goes
over the wire is held back for a moment, up to a piece, to go with what others send (`Writes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from relay.net.channel import TlsChannel
    from relay.net.writes import Writes

__all__ = ["SendBuffer"]

_PIECE_BYTES: Final = 64 * 1024
"""What is encrypted and written at a time: four full TLS records."""


class SendBuffer:
    """The writing side of a transport.

    `channel` encrypts what is sent from then on; once it has broken down (its `problem`), nothing more is taken
    from the queue.

    Args:
        transport: where the bytes go.
        writes: shared with other connections: what all of them send goes out together.
    """

    __slots__ = (
        "_held",
        "_is_gone",
        "_is_paused",
        "_is_sending",
        "_queue",
        "_transport",
        "_writes",
        "channel",
    )

    def __init__(self, transport: asyncio.WriteTransport, writes: Writes) -> None:
        self.channel: TlsChannel | None = None
        self._transport = transport
        self._writes = writes
        self._queue: list[bytes | memoryview] = []  # in clear
        self._held: bytes | memoryview = b""  # as it goes over the wire, until `flush`
        self._is_paused = False
        self._is_sending = False
        self._is_gone = False

    @property
    def is_low(self) -> bool:
        """Whether nothing waits for the transport to take more."""
        return not (self._is_paused or self._queue)

    def send(self, chunks: tuple[bytes, ...]) -> None:
        """Send bytes after all others, as far as it goes; the rest follows at `resume`."""
        if self._queue or self._is_paused or sum(map(len, chunks)) > _PIECE_BYTES:
            self._queue.extend(chunks)
            self._send_queue()
        else:
            self._send(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def pause(self) -> None:
        """Keep what is sent from now on back: the transport has enough."""
        self._is_paused = True

    def resume(self) -> None:
        """Send what was kept back, as far as it goes."""
        self._is_paused = False
        self._send_queue()

    def _send_queue(self) -> None:
        if self._is_sending:  # a transport may call resume_writing from within its write
            return
        self._is_sending = True
        channel = self.channel
        while self._queue and not (self._is_paused or (channel is not None and channel.problem)):
            self._send(_next_piece(self._queue))
        self._is_sending = False

    def _send(self, data: bytes | memoryview) -> None:
        if self.channel is not None and data:
            data = self.channel.encrypt(data)
        self.write(data)

    def write(self, wire: bytes | memoryview) -> None:
        """Have bytes written as they are, with those of others; more than a piece is written now."""
        if not wire or self._is_gone:
            return
        is_first = not self._held
        self._held = b"".join((self._held, wire)) if self._held else wire
        if len(self._held) > _PIECE_BYTES:
            self.flush()
        elif is_first:
            self._writes.add(self)

    def flush(self) -> None:
        """Give the transport what is held back."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def forget(self) -> None:
        """Drop everything, and what is still to come: the transport is gone."""
        self._queue.clear()
        self._held = b""
        self._is_gone = True


def _next_piece(queue: list[bytes | memoryview]) -> bytes | memoryview:
    """Take at most a piece from the queue: the front of a large chunk, or small ones joined."""
    first = queue.pop(0)
    if len(first) > _PIECE_BYTES:
        view = memoryview(first)
        queue.insert(0, view[_PIECE_BYTES:])
        return view[:_PIECE_BYTES]
    small, size = [first], len(first)
    while queue and size + len(queue[0]) <= _PIECE_BYTES:
        size += len(queue[0])
        small.append(queue.pop(0))
    return first if len(small) == 1 else b"".join(small)
