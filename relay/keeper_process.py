"""The process that keeps the revocation lists: forked by the supervisor, heard, replaced when it dies.

It lives on its own: while it is away, workers go on with the lists they have. What it does is
`revocation.keeper`'s; when it is forked, and what follows from what it tells, the supervisor knows.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from relay.crew import ChildProcess
from relay.net.clock import SystemClock
from relay.pki.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.material import Material

__all__ = ["KeeperProcess", "keep"]

log = structlog.get_logger("gatepost")

MAX_RESTART_DELAY_SECONDS: Final = 60.0
MAX_WANTED: Final = 1000
_NICENESS: Final = 10
"""A list of a million entries takes seconds to read: mail goes first."""


class KeeperProcess:
    """The supervisor's side.

    Args:
        selector: the supervisor's; its keys' data are called with the file object.
        become: what the child calls with its end of the socket pair.
        hear: called with each message; an end counts as the message "ready", for nobody should
            wait for it any more.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        become: Callable[[socket.socket], NoReturn],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        self._selector = selector
        self._become = become
        self._hear = hear
        self._process: ChildProcess | None = None
        self._wanted: dict[str, dict[str, Any]] = {}
        self._restart_at: float | None = None
        self._restart_delay = 1.0

    def start(self) -> None:
        """Fork it, in place of the one before if there is one."""
        self.stop()
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(theirs)
        theirs.close()
        ours.setblocking(False)  # noqa: FBT003  the socket module's own signature
        self._process = ChildProcess(pid=pid, control=ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda _: self._read())
        for order in self._wanted.values():
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

    def want(self, message: dict[str, Any]) -> None:
        """Pass on what a worker wants fetched; kept for the next one that is forked."""
        order = {**message, "order": "want"}
        key = json.dumps([message["urls"], message["delta_urls"], message["issuer"]])
        if key not in self._wanted and len(self._wanted) >= MAX_WANTED:
            return
        self._wanted[key] = order
        if self._process is not None:
            self._process.order(order)

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
        log.error("the keeper of revocation lists died", pid=process.pid, again_in=delay)
        self._hear({"event": "ready"})

    def _let_go(self, process: ChildProcess) -> None:
        self._selector.unregister(process.control)
        process.control.close()
        self._process = None


async def keep(material: Material, control: socket.socket) -> None:
    """Be the keeper: obey the supervisor until it is gone.

    Args:
        material: the settings and CAs.
        control: our end of the socket pair.
    """
    # The HTTP client is no small thing, and nobody but this process needs it.
    from relay.net.fetcher import Fetcher  # noqa: PLC0415
    from relay.revocation.keeper import Keeper  # noqa: PLC0415

    os.nice(_NICENESS)
    settings = material.settings.revocation
    reader, writer = await asyncio.open_connection(sock=control, limit=2**20)

    def tell(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    async with Fetcher(
        settings.timeout,
        settings.max_crl_bytes,
        allow_private_addresses=settings.allow_private_addresses,
    ) as fetcher:
        keeper = Keeper(
            material.settings.state_dir / "crl",
            settings,
            material.authorities,
            SystemClock(),
            fetcher,
            tell=lambda: tell({"event": "revocation", "sources": keeper.state()}),
            chance=random.random,
        )
        await keeper.prepare()
        tell({"event": "ready"})
        keeper.start()
        while line := await reader.readline():
            order = json.loads(line)
            issuer = Certificate(base64.b64decode(order["issuer"]))
            keeper.want(order["urls"], order["delta_urls"], issuer)
        keeper.stop()
