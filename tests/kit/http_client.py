"""A plain HTTP client on a raw socket: it sends exactly what it is told, right or wrong.

Knows nothing of what is served.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


class Reply(NamedTuple):
    """What came: the status (0: nothing), the header fields in lower case, the body."""

    status: int
    fields: Mapping[str, str]
    body: bytes


def connect(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    """Connect to loopback, with a time limit for everything."""
    plain = socket.create_connection(("127.0.0.1", port), 30)
    return tls.wrap_socket(plain, server_hostname="localhost") if tls else plain


def exchange(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> Reply:
    """Send bytes and read until the server hangs up."""
    with connect(port, tls) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; its answer may be there
        return read_reply(connection)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    tls: ssl.SSLContext | None = None,
    **fields: str,
) -> Reply:
    """Make one well-formed request; underscores in names of fields stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return exchange(port, "\r\n".join([*lines, "", ""]).encode() + body, tls)


def read_reply(connection: socket.socket) -> Reply:
    """Read all there is."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return Reply(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Reply(
        int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, body
    )
