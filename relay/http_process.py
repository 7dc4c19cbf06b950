"""The process that speaks HTTP: what our CA publishes, enrolment, probes and figures.

One on a host, forked by the supervisor, so that no request slows mail down. The files of the server
certificate are read before it gives up root's rights; all else it must be able to read as `user`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from relay.background import keep_at
from relay.ca_folder import CaFolder, publication_at
from relay.key_files import read_passphrase
from relay.net.clock import SystemClock
from relay.policy.restrictions import Restrictions
from relay.side_process import SideProcess
from relay.state.opening import open_store
from relay.state.watching import Watcher

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from relay.admin import est, published
    from relay.admin.server import HttpServer
    from relay.material import Material
    from relay.net.tally import Tally
    from relay.settings import Settings

__all__ = ["HttpProcess", "HttpSide", "http_addresses"]

log = structlog.get_logger("gatepost")

GRACE_SECONDS: Final = 2.0
"""For requests in work when it has to end."""
RETRY_SECONDS: Final = 30.0
"""Lists that can't be signed are told of no more often."""
_NICENESS: Final = 5
"""Mail goes first."""


class HttpProcess(SideProcess):
    """The supervisor's side; each new one is told how the workers are."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        become: Callable[[socket.socket], NoReturn],
    ) -> None:
        super().__init__("HTTP", selector, become, lambda _: None)
        self._state: dict[str, Any] = {}

    def tell(self, state: Mapping[str, Any]) -> None:
        """Tell how the workers are, if that is news."""
        order = {"order": "state", **state}
        if order != self._state:
            self._state = order
            self.order(order)

    def stop(self) -> None:
        """Have it end: it finishes what it is answering; `wait` for it where that matters."""
        self._restart_at = None
        if self._process is not None:
            self._let_go(self._process)

    def finish(self) -> None:
        """Stop it, and wait for its end."""
        process = self._process
        self.stop()
        if process is None:
            return
        end = time.monotonic() + GRACE_SECONDS + 1
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            while os.waitpid(process.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > end:
                    os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.01)

    def _first_orders(self) -> Iterable[dict[str, Any]]:
        return [self._state] if self._state else []


def http_addresses(settings: Settings) -> Iterator[tuple[tuple[str, str], str]]:
    """Where it listens: the keys of the settings, and their addresses."""
    for table in ("ca", "est", "admin"):
        if address := getattr(settings, table).address:
            yield (table, "address"), address


class HttpSide:
    """The child's side: whatever of the settings has an address.

    Made before root's rights are given up; runs after that.

    Args:
        material: the configuration, and what it names.
        tally: what the workers count.
        environ: may hold the passphrase of the CA's key.

    Raises:
        ConfigurationError: the passphrase or the certificate cannot be used.
        OSError: the same.
    """

    def __init__(self, material: Material, tally: Tally, environ: Mapping[str, str]) -> None:
        # Nobody but this process needs them.
        from relay.admin import est, health, published  # noqa: PLC0415
        from relay.admin.server import HttpServer  # noqa: PLC0415
        from relay.inventory import measure, take_stock  # noqa: PLC0415

        settings = self._settings = material.settings
        ca = CaFolder(
            settings.ca.folder,
            publication_at(settings.ca.url, has_responder=bool(settings.ca.address)),
        )
        passphrase = read_passphrase(environ)
        self._servers: dict[str, HttpServer] = {}
        self._restrictions = Restrictions()
        self._probes = health.Health(
            tally, lambda now: measure(take_stock(material, ca, now), material, now)
        )
        self._lists: published.Published | None = None
        self._enrolment: est.Est | None = None
        if settings.admin.address:
            self._servers[settings.admin.address] = HttpServer(self._probes.routes)
        if settings.ca.address:
            self._lists = published.Published(ca, passphrase)
            self._servers[settings.ca.address] = HttpServer(
                self._lists.routes, max_body_bytes=published.MAX_BODY_BYTES
            )
        if settings.est.address and settings.est.certificate is not None:
            self._enrolment = est.Est(settings, ca, passphrase, self._restrictions)
            self._servers[settings.est.address] = HttpServer(
                self._enrolment.routes,
                max_body_bytes=est.MAX_BODY_BYTES,
                tls=est.server_context(settings.est.certificate, ca),
            )

    async def run(self, sockets: Mapping[str, list[socket.socket]], control: socket.socket) -> None:
        """Serve until the supervisor is gone, or wants another in our place.

        Args:
            sockets: listening ones, by address.
            control: our end of the socket pair.
        """
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)
        reader, writer = await asyncio.open_connection(sock=control, limit=2**20)
        work = [self._lists.keep_new] if self._lists else []
        if self._enrolment is not None:
            work.append(self._watch_restrictions)
        keeping = [asyncio.create_task(keep_at(each, RETRY_SECONDS)) for each in work]
        for address, server in self._servers.items():
            await server.start(sockets[address])
        while line := await reader.readline():
            self._obey(json.loads(line))
        for task in keeping:
            task.cancel()
        await asyncio.gather(*(each.close(GRACE_SECONDS) for each in self._servers.values()))
        if self._enrolment is not None:
            await self._enrolment.close()
        writer.close()

    async def _watch_restrictions(self) -> None:
        """Know who is suspended, as the workers do; only here, for no store survives a fork."""
        store = open_store(self._settings.state, self._settings.state_dir)
        try:
            watcher = Watcher(store, SystemClock(), lambda: None, view=self._restrictions)
            await watcher.start()
            await watcher.run()
        finally:
            await store.close()

    def _obey(self, order: dict[str, Any]) -> None:
        if order["order"] == "state":
            self._probes.update(order)
        elif order["order"] == "reopen" and self._enrolment is not None:
            self._enrolment.reopen()
