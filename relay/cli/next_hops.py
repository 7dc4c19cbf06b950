"""Whether the next hops answer, with the TLS that their routes want: `gatepost check --connect`.

Connects as the relay does, says EHLO and QUIT, and sends no mail.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.cli.finding import Finding
from relay.errors import GatepostError, HandshakeFailed
from relay.net.clock import SystemClock
from relay.net.dialer import TcpDialer
from relay.outbound.connection import Opener

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.outbound.connection import Connection
    from relay.outbound.routes import Host, Route

__all__ = ["try_next_hops"]

_PATIENCE = timedelta(seconds=10)


def try_next_hops(routes: Iterable[Route], hostname: str) -> list[Finding]:
    """Connect to every host of every route at the same time; one finding for each."""
    return asyncio.run(
        _try_all([(route, host) for route in routes for host in route.hosts], hostname)
    )


async def _try_all(targets: list[tuple[Route, Host]], hostname: str) -> list[Finding]:
    return await asyncio.gather(*(_try(route, host, hostname) for route, host in targets))


async def _try(route: Route, host: Host, hostname: str) -> Finding:
    place = f'route "{route.name}", {host}'
    opener = Opener(
        _impatient(route), host, dialer=TcpDialer(), clock=SystemClock(), hostname=hostname
    )
    try:
        connection = await opener.open()
    except HandshakeFailed as error:
        return Finding("error", place, f"TLS: {error.reason}", _tls_remedy(route))
    except GatepostError as error:
        remedy = "start it, or correct `hosts`; until then mail is deferred (451)"
        return Finding("error", place, str(error), remedy)
    finding = Finding("ok", place, _describe(connection))
    await connection.quit()
    return finding


def _impatient(route: Route) -> Route:
    settings = route.settings
    shorter = {
        name: min(getattr(settings, name), _PATIENCE)
        for name in ("connect_timeout", "command_timeout")
    }
    return replace(route, settings=settings.model_copy(update=shorter))


def _tls_remedy(route: Route) -> str:
    if route.settings.tls == "fingerprint":
        return "if this is the right key, put it into the route's `pins`"
    return "name its CA in the route's `ca`, its name in `server_name`, or use fingerprint"


def _describe(connection: Connection) -> str:
    tls, engine = connection.tls, connection.engine
    secured = "no TLS"
    if tls is not None:
        secured = ", ".join(part for part in (tls.version, tls.cipher, tls.group) if part)
    offered = engine.extensions.hello_reply("", "EHLO").lines[1:]
    return f"{secured}; offers {', '.join(offered) or 'no extensions'}"
