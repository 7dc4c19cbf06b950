"""Where mail and HTTP come in: addresses that cannot be listened on, or twice, or not by whom they are for.

Pure: opens no socket; whether an address is free is seen at the start.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from relay.mistakes import Mistake, mistake_by
from relay.settings.values import is_loopback, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.model import Endpoint
    from relay.settings import Settings
    from relay.toml_lines import KeyPath

__all__ = ["check_listeners"]


def check_listeners(settings: Settings) -> Iterator[Mistake]:
    """Look at every `[[listener]]`, and at where HTTP comes in."""
    names: set[str] = set()
    taken: list[tuple[str, Endpoint]] = []
    for position, listener in enumerate(settings.listener):
        key = ("listener", position)
        if listener.name in names:
            yield Mistake(
                (*key, "name"),
                f'two listeners are named "{listener.name}"',
                "give each its own name",
            )
        names.add(listener.name)
        named = f'listener "{listener.name}"'
        yield from _check_address(named, listener.address, (*key, "address"), taken)
        if listener.client_certificate == "off" and set(settings.route) == {"*"}:
            yield Mistake(
                (*key, "client_certificate"),
                f'listener "{listener.name}" identifies nobody, and without an identity nothing '
                "goes to the default route",
                'add a `[route."example.org"]` for your domains, or use optional or required',
            )
    yield from _check_http(settings, taken)


def _check_http(settings: Settings, taken: list[tuple[str, Endpoint]]) -> Iterator[Mistake]:
    """Check the addresses of the HTTP process."""
    for name in ("ca", "est", "admin"):
        address = getattr(settings, name).address
        if address:
            yield from _check_address(f"[{name}]", address, (name, "address"), taken)
    if settings.est.address and settings.est.certificate is None:
        yield Mistake(
            ("est", "address"),
            "`[est]` has no certificate",
            'add `certificate = { chain = "tls/edge.pem", key = "tls/edge.key" }`',
        )
    if settings.est.address.startswith("unix:"):
        yield Mistake(
            ("est", "address"),
            "`[est]` is for other machines, and a Unix socket is not",
            'write an address and a port, as "0.0.0.0:8443"',
        )
    if settings.admin.address and not settings.admin.unsafe_bind and not _is_local(settings):
        yield Mistake(
            ("admin", "address"),
            f'`admin.address` = "{settings.admin.address}" is open to other machines',
            'use "127.0.0.1:9025"; if it must be, say `unsafe_bind = true`',
        )


def _is_local(settings: Settings) -> bool:
    """Whether the admin address can only be reached from here, as far as it can be read at all."""
    try:
        return is_loopback(parse_endpoint(settings.admin.address).address)
    except ValueError:
        return True


def _check_address(
    owner: str, address: str, key: KeyPath, taken: list[tuple[str, Endpoint]]
) -> Iterator[Mistake]:
    """Check the address of an owner, and that nobody before (`taken`) has it."""
    what = ".".join(part for part in key if isinstance(part, str))
    if address.startswith("unix:"):
        yield from _check_socket_path(what, address.removeprefix("unix:"), key)
        return
    try:
        endpoint = parse_endpoint(address)
    except ValueError as error:
        yield mistake_by(error, key, what)
        return
    if endpoint.ip is None:
        yield Mistake(
            key,
            f'`{what}`: "{endpoint.address}" is a name',
            'write the IP address to listen on, as "0.0.0.0:25", "[::]:25" or "127.0.0.1:2525"',
        )
        return
    for other_owner, other in taken:
        if _overlap(endpoint, other):
            yield Mistake(
                key,
                f"{other_owner} and {owner} both listen on {endpoint}",
                "give each its own address or port",
            )
    taken.append((owner, endpoint))


def _check_socket_path(what: str, path: str, key: KeyPath) -> Iterator[Mistake]:
    if not PurePath(path).is_absolute():
        yield Mistake(
            key,
            f'`{what}`: "unix:{path}" is no absolute path',
            'write it as "unix:/run/gatepost/smtp.sock"',
        )


def _overlap(one: Endpoint, other: Endpoint) -> bool:
    """Whether two addresses meet; port 0 is a free port each time, IPv6 sockets are IPv6 only."""
    if one.port != other.port or one.port == 0 or one.ip is None or other.ip is None:
        return False
    same_family = one.ip.version == other.ip.version
    return same_family and (one.ip == other.ip or one.ip.is_unspecified or other.ip.is_unspecified)
