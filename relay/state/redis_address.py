"""Where a Valkey or Redis is, and what is shown to it.

Reads the files that the settings name; connects to nothing and does not know redis-py.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import ConfigurationError
from relay.settings.values import parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay.model import Endpoint
    from relay.settings.state import State

__all__ = ["StoreUrl", "parse_store_url", "password_of", "read_secret", "tls_context"]

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


def password_of(state: State) -> str | None:
    """Return the password towards the server.

    Raises:
        ConfigurationError: its file can't be read.
    """
    if state.password_file is not None:
        return read_secret(state.password_file)
    return state.password.get_secret_value() if state.password else None


def read_secret(path: Path) -> str:
    """Read a file that holds a secret and a line end.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"{path} cannot be read: {reason}", remedy="check the path and its mode"
        ) from None


def tls_context(state: State) -> ssl.SSLContext | None:
    """Return what TLS is spoken with, the same for all connections; None without TLS.

    Raises:
        ConfigurationError: a file that the settings name can't be read, or is none of its kind.
    """
    if not all(parse_store_url(url, state.topology).is_tls for url in state.url):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if state.ca is None:
        context.load_default_certs()
    else:
        _load(state.ca, "PEM file of certificates", lambda: context.load_verify_locations(state.ca))
    if (files := state.client_certificate) is not None:
        _load(
            files.chain,
            "certificate with its key",
            lambda: context.load_cert_chain(files.chain, files.key),
        )
    return context


def _load(path: Path, kind: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        problem = f"{path} is no {kind}: {error.reason or error}"
        raise ConfigurationError(problem, remedy="name another file") from None
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise ConfigurationError(problem, remedy="check the path and its mode") from None
