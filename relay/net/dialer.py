"""Opens TCP connections to next hops.

Knows nothing of routes, TLS or SMTP: a host, a port, a time limit. Implements `ports.Dialer`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from relay.errors import Unavailable
from relay.net.stream import TcpStream
from relay.net.writes import Writes

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["TcpDialer"]


class TcpDialer:
    """Tries a host's addresses in turn, each with its share of the time that is left."""

    def __init__(self) -> None:
        self._writes = Writes()

    async def connect(self, host: str, port: int, timeout: timedelta) -> TcpStream:
        """Open a connection; see `ports.Dialer`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout.total_seconds()
        try:
            async with asyncio.timeout_at(end):
                addresses = await _look_up(host, port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Unavailable(f"{host}: {_describe(error, 'no answer from DNS')}") from error
        failures = []
        for tried, address in enumerate(addresses):
            share = (end - loop.time()) / (len(addresses) - tried)
            try:
                async with asyncio.timeout(share):
                    transport, stream = await loop.create_connection(
                        lambda: TcpStream(self._writes), address, port
                    )
            except (OSError, TimeoutError) as error:
                failures.append(f"{address}:{port}: {_describe(error, 'no answer')}")
            else:
                connected = transport.get_extra_info("socket")
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return stream
        raise Unavailable("; ".join(failures) or f"{host}: no address")


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _describe(error: BaseException, if_late: str) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return if_late
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
