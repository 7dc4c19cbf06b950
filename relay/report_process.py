"""The process that keeps what is counted for DMARC reports, and sends them: forked by the supervisor.

Mail never waits for it. What workers count while it is being replaced is lost, as reports allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from relay.dmarc_reports.ledger import Ledger
from relay.dmarc_reports.reporter import Reporter, day_of
from relay.net.clock import SystemClock
from relay.net.dialer import TcpDialer
from relay.net.resolver import open_resolver
from relay.outbound.forwarder import Forwarder
from relay.side_process import SideProcess

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable

    from relay.material import Material
    from relay.outbound.routes import RouteTable

__all__ = ["ReportProcess", "report"]

log = structlog.get_logger("gatepost")

_NICENESS: Final = 10
_CHECK_SECONDS: Final = 600.0
"""How often it is looked whether a day is over, and what was deferred is tried again."""
_MAX_LINE_BYTES: Final = 2**26


class ReportProcess(SideProcess):
    """The supervisor's side."""

    def __init__(
        self, selector: selectors.BaseSelector, become: Callable[[socket.socket], NoReturn]
    ) -> None:
        super().__init__("DMARC reports", selector, become, lambda _: None)

    def take(self, message: dict[str, Any]) -> None:
        """Pass on what a worker has counted."""
        self.order({"order": "counted", "counted": message["counted"]})


async def report(material: Material, routes: RouteTable, control: socket.socket) -> None:
    """Keep counts and send reports until the supervisor is gone.

    Args:
        material: the settings and keys.
        routes: the way out.
        control: our end of the socket pair.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    settings = material.settings
    reader, writer = await asyncio.open_connection(sock=control, limit=_MAX_LINE_BYTES)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        ledger = Ledger(settings.state_dir / "dmarc_reports.sqlite")
        stack.callback(ledger.close)
        forwarder = Forwarder(routes, TcpDialer(), clock, hostname=settings.hostname)
        await forwarder.start()
        stack.push_async_callback(forwarder.close)
        resolver = open_resolver(settings.dns)
        stack.push_async_callback(resolver.close)
        reporter = Reporter(
            settings.dmarc_reports,
            settings.hostname,
            ledger=ledger,
            next_hop=forwarder,
            resolver=resolver,
            clock=clock,
            keyring=material.keyring,
        )
        sending = asyncio.create_task(_send(reporter))
        while line := await reader.readline():
            ledger.add(day_of(clock.now()), json.loads(line)["counted"])
        sending.cancel()
    writer.close()


async def _send(reporter: Reporter) -> None:
    while True:
        try:
            for problem in await reporter.send_due():
                log.warning("DMARC report not sent", problem=problem)
        except Exception:  # the next day is another
            log.exception("DMARC reports failed")
        # Not all of the world at midnight.
        await asyncio.sleep(_CHECK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  no secret
