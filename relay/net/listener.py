"""Listening sockets, accepted connections, and whom a load balancer speaks for.

Knows nothing of SMTP or TLS: it hands out streams. HAProxy's proxy-protocol.txt.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relay.errors import ConnectionLost
from relay.net.proxy_protocol import MalformedProxyHeader, parse_proxy_header
from relay.net.stream import TcpStream
from relay.net.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay.model import Network
    from relay.net.proxy_protocol import ProxyHeader

__all__ = ["open_sockets", "read_proxy_header", "serve"]

_BACKLOG: Final = 4096
_TCP_ADDRESS: Final = re.compile(r"(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})")
_WORDS: Final = {
    errno.EADDRINUSE: "the address is in use",
    errno.EACCES: "no permission for this port or path",
    errno.EPERM: "no permission for this port or path",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine does not speak this address family",
}


def open_sockets(address: str) -> list[socket.socket]:
    """Open listening sockets for "host:port", "[v6]:port", ":port" (all addresses) or "unix:path".

    They listen at once: clients queue until a worker serves them. An IPv6 socket takes IPv6 only,
    so "0.0.0.0:25" and "[::]:25" go together.

    Raises:
        OSError: the address is wrong, in use or forbidden; `strerror` says so in words.
    """
    try:
        if address.startswith("unix:"):
            return [_listen_unix(address.removeprefix("unix:"))]
        return _listen_tcp(*_parse_address(address))
    except OSError as error:
        words = _WORDS.get(error.errno or 0, error.strerror or str(error))
        raise OSError(error.errno, words, address) from error


async def serve(
    listening: socket.socket, on_connection: Callable[[TcpStream], None]
) -> asyncio.Server:
    """Accept connections on a socket of `open_sockets`, on the running loop.

    `on_connection` is called with each stream; what it starts is its own business. Close the
    returned server to stop accepting; connections live on.
    """
    loop = asyncio.get_running_loop()
    writes = Writes()

    def make_stream() -> TcpStream:
        return TcpStream(writes, on_connection)

    if listening.family == socket.AF_UNIX:
        return await loop.create_unix_server(make_stream, sock=listening, backlog=_BACKLOG)
    return await loop.create_server(make_stream, sock=listening, backlog=_BACKLOG)


async def read_proxy_header(stream: TcpStream, networks: Iterable[Network]) -> ProxyHeader | None:
    """Read the PROXY protocol header from a peer of these networks, and believe it.

    The stream's `peer` and `local` become those of the client that the proxy speaks for. Other
    peers are left alone (None): if they send a header, it is taken for what it is there, garbage.

    Raises:
        ConnectionLost: a named peer has sent no header, or a wrong one.
        DeadlinePassed: the stream's deadline has come.
    """
    address = stream.peer.ip
    if address is None or not any(address in network for network in networks):
        return None
    received = b""
    while True:
        data = await stream.receive()
        received += data
        try:
            header = parse_proxy_header(received)
        except MalformedProxyHeader as error:
            raise ConnectionLost(f"proxy {stream.peer}: {error}") from error
        if header is not None:
            break
        if not data:
            raise ConnectionLost(f"proxy {stream.peer}: closed before its header")
    stream.push_back(received[header.length :])
    if header.source is not None and header.destination is not None:
        stream.peer, stream.local = header.source, header.destination
    return header


def _parse_address(address: str) -> tuple[str | None, int]:
    found = _TCP_ADDRESS.fullmatch(address)
    if found is None or int(found[3]) > 65_535:
        raise OSError(
            errno.EINVAL, 'no address; write "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/path"'
        )
    return found[1] or found[2] or None, int(found[3])


def _listen_tcp(host: str | None, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, place in dict.fromkeys((each[0], each[4]) for each in found):
            opened.append(_listen(family, place))
    except OSError:
        for each in opened:
            each.close()
        raise
    return opened


def _listen(family: int, place: tuple[object, ...] | str) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections inherit these, which saves a system call on each.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_unix(path: str) -> socket.socket:
    with suppress(FileNotFoundError):  # gone meanwhile
        if Path(path).is_socket() and not _is_served(path):
            Path(path).unlink()  # left behind by a process that is gone
    return _listen(socket.AF_UNIX, path)


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        return True
