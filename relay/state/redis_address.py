"""Where a Valkey or Redis is, and what is shown to it: settings into arguments of redis-py.

Reads the files that the settings name; connects to nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.errors import ConfigurationError
from relay.settings import parse_endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from relay.model import Endpoint
    from relay.settings import State

__all__ = ["StoreUrl", "connection_arguments", "parse_store_url", "sentinel_arguments"]

_PORTS = {"standalone": 6379, "cluster": 6379, "sentinel": 26379}


class StoreUrl(NamedTuple):
    """A server's place, and whether TLS is spoken there."""

    endpoint: Endpoint
    is_tls: bool


def parse_store_url(text: str, topology: str = "standalone") -> StoreUrl:
    """Read "redis://host:port" or "rediss://[2001:db8::1]:6380".

    Raises:
        ValueError: it is none; the text says how to write it.
    """
    if "@" in text:  # not shown: a password may stand before it
        raise ValueError(
            "an address holds no user and no password; use `username` and `password_file`"
        )
    found = re.fullmatch(r"(rediss?)://([^/?#]+)/?([^/]*)", text)
    if found is None:
        raise ValueError(
            f'"{text}" is no address of a Valkey or Redis; write it as '
            '"redis://state.internal:6379" or "rediss://[2001:db8::1]:6380"'
        )
    if found[3]:
        raise ValueError(f'"{text}" has something behind the port; use `database` for a number')
    return StoreUrl(parse_endpoint(found[2], _PORTS[topology]), found[1] == "rediss")


def connection_arguments(state: State) -> dict[str, Any]:
    """Return what redis-py wants to know of each connection to a server.

    Raises:
        ConfigurationError: a file that the settings name can't be read.
    """
    arguments: dict[str, Any] = {
        "username": state.username or None,
        "password": _password(state) or None,
        "socket_timeout": state.timeout.total_seconds(),
        "socket_connect_timeout": state.timeout.total_seconds(),
    }
    if state.topology != "cluster":
        arguments["db"] = state.database
    return arguments | _tls_arguments(state)


def sentinel_arguments(state: State) -> dict[str, Any]:
    """Return the same for connections to Sentinels, which have users of their own or none."""
    file = state.sentinel_password_file
    return {
        "username": state.sentinel_username or None,
        "password": _read_secret(file) if file else None,
        "socket_timeout": state.timeout.total_seconds(),
        "socket_connect_timeout": state.timeout.total_seconds(),
    } | _tls_arguments(state)


def _tls_arguments(state: State) -> dict[str, Any]:
    if not all(parse_store_url(url).is_tls for url in state.url):
        return {}
    arguments: dict[str, Any] = {"ssl": True, "ssl_check_hostname": True}
    if state.ca is not None:
        _check_readable(state.ca)
        arguments["ssl_ca_certs"] = str(state.ca)
    if (files := state.client_certificate) is not None:
        _check_readable(files.chain)
        _check_readable(files.key)
        arguments |= {"ssl_certfile": str(files.chain), "ssl_keyfile": str(files.key)}
    return arguments


def _password(state: State) -> str:
    if state.password_file is not None:
        return _read_secret(state.password_file)
    return state.password.get_secret_value() if state.password else ""


def _read_secret(path: Path) -> str:
    return _read(path).decode("utf-8", "surrogateescape").rstrip("\r\n")


def _check_readable(path: Path) -> None:
    _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}", remedy="check the path and its mode"
        ) from error
