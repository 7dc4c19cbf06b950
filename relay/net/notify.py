"""systemd's readiness protocol (sd_notify(3)): READY, RELOADING, STOPPING and the watchdog.

Does nothing where no service manager asked for it. Decides nothing.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Notifier"]


class Notifier:
    """Tells the service manager named by `NOTIFY_SOCKET`, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ means Linux's abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval = int(environ.get("WATCHDOG_USEC") or 0) / 1_000_000
        self._watchdog_interval = interval / 2
        self._next_watchdog = 0.0

    def ready(self) -> None:
        """Start-up or reload is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins (Type=notify-reload wants the time, too)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """We live; sent at most every half interval."""
        now = time.monotonic()
        if self._watchdog_interval and now >= self._next_watchdog:
            self._next_watchdog = now + self._watchdog_interval
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(message.encode(), self._address)
