"""Signals as something to read: what wakes a selector up, and which signals have come.

What follows from a signal is not known here.
"""

from __future__ import annotations

import selectors
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["SignalSocket"]


class SignalSocket:
    """Takes signals over for this process.

    Args:
        selector: its keys' data are called with the file object.
        numbers: which signals.
        hear: called with each signal, in the selector's turn.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        numbers: Iterable[signal.Signals],
        hear: Callable[[int], None],
    ) -> None:
        self._hear = hear
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)  # noqa: FBT003
        self._sender.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        selector.register(self._receiver, selectors.EVENT_READ, self._read)

    def close(self) -> None:
        """Hear no more."""
        signal.set_wakeup_fd(-1)
        self._receiver.close()
        self._sender.close()

    def _read(self, receiver: socket.socket) -> None:
        for number in receiver.recv(256):
            self._hear(number)
