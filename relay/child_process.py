"""A process that the supervisor has forked: the pair of sockets to it, and how the child begins.

Both ends speak JSON lines. Which processes there are, and what each of them does, is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
import uvloop

from relay.rights import become_user

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["HANDLED_SIGNALS", "ChildProcess", "become", "fork_child"]

log = structlog.get_logger("gatepost")

HANDLED_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGUSR1,
)
"""What the supervisor listens to."""
_ORDER_SECONDS = 5.0
"""How long a child that does not read may hold its parent up."""


@dataclass(kw_only=True)
class ChildProcess:
    """A process that we have forked, and our end of the socket pair to it."""

    pid: int
    control: socket.socket
    started: float = field(default_factory=time.monotonic)
    inbox: bytearray = field(default_factory=bytearray)

    def order(self, order: dict[str, object]) -> None:
        """Tell it something."""
        with contextlib.suppress(OSError):  # it has just died: SIGCHLD tells
            self.control.settimeout(_ORDER_SECONDS)
            self.control.sendall(json.dumps(order).encode() + b"\n")
            self.control.setblocking(False)  # noqa: FBT003

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the messages that have come; None at the end of the stream: it is gone."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return None
        self.inbox += data
        *lines, rest = self.inbox.split(b"\n")
        self.inbox = rest
        return [json.loads(line) for line in lines]


def fork_child(start: Callable[[socket.socket], NoReturn]) -> tuple[int, socket.socket]:
    """Fork; the child calls `start` with its end of a socket pair. Returns the pid and our end."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        start(theirs)
    theirs.close()
    ours.setblocking(False)  # noqa: FBT003  the socket module's own signature
    return pid, ours


def become(begin: Callable[[], Coroutine[Any, Any, None]], user: str) -> NoReturn:
    """Be a child from here on: its signals, its user, its event loop, its end.

    Args:
        begin: lets go of what is the parent's, and returns what to run.
        user: whom to be, if we are root; empty: no change.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # The terminal's Ctrl-C and a service manager's SIGHUP are the parent's to hear.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        running = begin()
        become_user(user)
        uvloop.run(running)
        code = 0
    except Exception:
        log.exception("process failed")
    finally:
        os._exit(code)
