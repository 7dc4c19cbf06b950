"""The process that examines the domains of `[doctor]` from time to time: forked by the supervisor, mail never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from relay.audit.log import AuditLog
from relay.net.clock import SystemClock
from relay.net.dialer import TcpDialer
from relay.net.name_servers import find_name_servers
from relay.net.resolver import open_resolver
from relay.outbound.forwarder import Forwarder

if TYPE_CHECKING:
    import socket

    from relay.doctor_rounds import Rounds
    from relay.material import Material
    from relay.net.tally import Row
    from relay.outbound.routes import RouteTable
    from relay.settings import Settings

__all__ = ["make_rounds"]

log = structlog.get_logger("gatepost")

_NICENESS: Final = 10
_TIMEOUT: Final = timedelta(seconds=30)
_MAX_POLICY_BYTES: Final = 64 * 1024  # RFC 8461 3.2


async def make_rounds(
    material: Material, routes: RouteTable, row: Row, control: socket.socket
) -> None:
    """Examine all domains at once and then every so often, until the supervisor is gone.

    Args:
        material: the settings, and keys for alerts.
        routes: the way out, for alerts.
        row: for the metrics.
        control: our end of the socket pair.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    settings = material.settings
    reader, writer = await asyncio.open_connection(sock=control)
    async with AsyncExitStack() as stack:
        audit = AuditLog(settings.audit.path, sync="second", node=settings.hostname)
        stack.push_async_callback(audit.close)
        rounds = await _open_rounds(stack, material, routes, row, audit)
        going = asyncio.create_task(_go(rounds, settings))
        while line := await reader.readline():
            if json.loads(line)["order"] == "reopen":
                audit.reopen()
        going.cancel()
    writer.close()


async def _go(rounds: Rounds, settings: Settings) -> None:
    while True:
        try:
            for problem in await rounds.visit(settings.doctor.domains):
                log.warning("alert about domains not delivered", problem=problem)
        except Exception:  # the next time is another
            log.exception("domains not examined")
        await asyncio.sleep(settings.doctor.every.total_seconds())


async def _open_rounds(
    stack: AsyncExitStack, material: Material, routes: RouteTable, row: Row, audit: AuditLog
) -> Rounds:
    # What they need is no small thing, and nobody but this process needs it.
    from relay.doctor import Doctor, Examination, selectors_of  # noqa: PLC0415
    from relay.doctor_rounds import Memory, Rounds, alert_by_mail, alert_by_webhook  # noqa: PLC0415
    from relay.net.fetcher import Fetcher  # noqa: PLC0415

    settings = material.settings
    clock, own = SystemClock(), settings.doctor
    resolver = open_resolver(settings.dns)
    stack.push_async_callback(resolver.close)
    fetcher = await stack.enter_async_context(
        Fetcher(_TIMEOUT, _MAX_POLICY_BYTES, allow_private_addresses=own.allow_private_addresses)
    )

    async def fetch(url: str) -> bytes:
        return (await fetcher.get(url)).body

    timeout = settings.dns.timeout.total_seconds()
    doctor = Doctor(resolver, find_name_servers(settings.dns.servers), fetch, timeout)

    async def examine(domain: str) -> Examination:
        keys = (key.split("._domainkey.") for key in own.dkim_keys)
        others = {selector for selector, of in keys if of.lower() == domain.lower()}
        return await doctor.examine(domain, selectors_of(settings.dkim, domain) | others)

    alerts = []
    if own.webhook:
        alerts.append(alert_by_webhook(fetcher.post, own.webhook, settings.hostname))
    if own.mail_to:
        forwarder = Forwarder(routes, TcpDialer(), clock, hostname=settings.hostname)
        await forwarder.start()
        stack.push_async_callback(forwarder.close)
        alerts.append(alert_by_mail(forwarder, settings, clock, material.keyring))
    return Rounds(
        examine,
        Memory(settings.state_dir / "doctor.json"),
        audit,
        lambda domain, problems: row.tell("domain_problems", domain, value=problems),
        alerts,
    )
