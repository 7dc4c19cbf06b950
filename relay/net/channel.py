"""One TLS connection without its socket: what was received goes in, plain bytes come out, and back.

Owns the `SSL.Connection` and its memory; knows no transport, no waiting and no deadlines. RFC 8446 5,
6.1.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from relay.net.openssl import Records, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TlsChannel"]

_SLICE_BYTES: Final = 32 * 1024
"""What OpenSSL is fed at a time: its memory BIOs grow with the largest bite."""
_SMALL_BYTES: Final = 4 * 1024
"""What the BIOs may grow to without being replaced at the next rest."""


class TlsChannel:
    """A handshake, and then a pipe each way.

    `is_over` is set once the peer's close_notify has come; `problem` is not empty once TLS has
    broken down. Either way nothing more will be decrypted.
    """

    __slots__ = (
        "_on_first",
        "_records",
        "_was_used",
        "connection",
        "has_grown",
        "is_over",
        "problem",
    )

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.is_over = False
        self.problem = ""
        self.has_grown = False
        """Whether the memory BIOs have, so that a `rest` would do good."""
        self._was_used = False  # since the last rest, for more than a few bytes
        self._records = Records(connection)
        self._on_first: Callable[[], None] | None = None

    def shake_hands(self) -> bool:
        """Go on with the handshake; False if it needs more from the peer.

        Raises:
            SSL.Error: it has failed; an alert waits in `outgoing`.
        """
        if not self._records.shake_hands():
            return False
        self.has_grown = True
        return True

    @property
    def is_tls13(self) -> bool:
        """Whether TLS 1.3 was negotiated."""
        return self.connection.get_protocol_version() == SSL.TLS1_3_VERSION

    def on_first_bytes(self, call: Callable[[], None]) -> None:
        """Have something done once, when the first plain bytes have come."""
        self._on_first = call

    def feed(self, inbox: list[bytes | memoryview]) -> bool:
        """Give the handshake the next slice of what has been received; False if there is none."""
        if not inbox:
            return False
        self._records.feed(self._next_slice(inbox))
        return True

    def _next_slice(self, inbox: list[bytes | memoryview]) -> bytes | memoryview:
        data = inbox.pop(0)
        if len(data) <= _SMALL_BYTES:
            return data
        self.has_grown = self._was_used = True
        if len(data) <= _SLICE_BYTES:
            return data
        view = memoryview(data)
        inbox.insert(0, view[_SLICE_BYTES:])
        return view[:_SLICE_BYTES]

    def decrypt(self, inbox: list[bytes | memoryview]) -> bytes:
        """Return all plain bytes of what has been received, emptying `inbox`.

        Some may have come with the handshake, and be inside OpenSSL already.
        """
        plain: list[bytes] = []
        try:
            self._records.read(self._next_slice(inbox) if inbox else b"", plain)
            while inbox:
                self._records.read(self._next_slice(inbox), plain)
        except SSL.ZeroReturnError:
            self.is_over = True
            inbox.clear()
        except SSL.Error as error:
            self._break(error)
            inbox.clear()
        if plain and self._on_first is not None:
            self._on_first()
            self._on_first = None
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Seal bytes for the peer; return all that must be sent to it."""
        if len(data) > _SMALL_BYTES:
            self.has_grown = self._was_used = True
        try:
            return self._records.write(data)
        except SSL.Error as error:
            self._break(error)
            return self._records.outgoing()

    def outgoing(self) -> bytes:
        """Take what TLS itself has for the peer; b"" if there is nothing."""
        return self._records.outgoing()

    def say_goodbye(self) -> None:
        """Send close_notify (RFC 8446 6.1)."""
        with suppress(SSL.Error):  # in the middle of a handshake there is none
            self.connection.shutdown()

    def forget(self) -> None:
        """End without close_notify; the session may be resumed all the same (RFC 5246 7.2.1)."""
        self.connection.set_shutdown(SSL.SENT_SHUTDOWN)

    def rest(self) -> None:
        """Give back memory, if the connection was quiet since the last call."""
        if self._was_used:
            self._was_used = False
        elif self.has_grown:
            self.has_grown = not self._records.release_buffers()

    def _break(self, error: SSL.Error) -> None:
        self.problem = self.problem or f"TLS failed: {describe_error(error)}"
