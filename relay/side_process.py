"""A process beside the workers, one of its kind on a host: forked, heard, replaced when it dies.

Mail never waits for one. What it does, and when it is forked, is not known here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from relay.child_process import ChildProcess, fork_child

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

__all__ = ["SideProcess"]

log = structlog.get_logger("gatepost")

MAX_RESTART_DELAY_SECONDS: Final = 60.0


class SideProcess:
    """The supervisor's side.

    Args:
        name: for the log: "the keeper of revocation lists".
        selector: the supervisor's; its keys' data are called with the file object.
        become: what the child calls with its end of the socket pair.
        hear: called with each message; an end counts as the message "ready", for nobody should
            wait for it any more.
    """

    def __init__(
        self,
        name: str,
        selector: selectors.BaseSelector,
        become: Callable[[socket.socket], NoReturn],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        self._name = name
        self._selector = selector
        self._become = become
        self._hear = hear
        self._process: ChildProcess | None = None
        self._restart_at: float | None = None
        self._restart_delay = 1.0

    def start(self) -> None:
        """Fork it, in place of the one before if there is one."""
        self.stop()
        pid, control = fork_child(self._become)
        self._process = ChildProcess(pid=pid, control=control)
        self._selector.register(control, selectors.EVENT_READ, lambda _: self._read())
        for order in self._first_orders():
            self._process.order(order)

    def stop(self) -> None:
        """End it at once: what it writes is put in place by rename, so nothing is left half done."""
        self._restart_at = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process.pid, 0)
            self._let_go(self._process)

    def close(self) -> None:
        """Let go of its socket: in another child, it is the parent's."""
        if self._process is not None:
            self._process.control.close()

    def tick(self) -> None:
        """Replace a dead one when its time has come."""
        if self._restart_at is not None and time.monotonic() >= self._restart_at:
            self.start()

    def order(self, order: dict[str, Any]) -> None:
        """Tell it something, if it is there."""
        if self._process is not None:
            self._process.order(order)

    def _first_orders(self) -> Iterable[dict[str, Any]]:
        """What each new one is told."""
        return ()

    def _read(self) -> None:
        process = self._process
        if process is None:
            return
        messages = process.receive()
        if messages is None:
            self._ended(process)
            return
        for message in messages:
            self._hear(message)

    def _ended(self, process: ChildProcess) -> None:
        lived = time.monotonic() - process.started
        self._let_go(process)  # the crew buries it with the other dead
        delay = self._restart_delay
        self._restart_delay = min(2 * delay, MAX_RESTART_DELAY_SECONDS)
        if lived > MAX_RESTART_DELAY_SECONDS:
            self._restart_delay = 1.0
        self._restart_at = time.monotonic() + delay
        log.error("side process died", process=self._name, pid=process.pid, again_in=delay)
        self._hear({"event": "ready"})

    def _let_go(self, process: ChildProcess) -> None:
        self._selector.unregister(process.control)
        process.control.close()
        self._process = None
