"""Where a command finds things: the configuration's folder, its CA, its allowlist, its address.

Commands about certificates and pins must work before there is a configuration: a certificate has to
be made before a configuration can name it. Everything has its usual place then.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relay.ca_folder import CaFolder, publication_at
from relay.cli.context import find_config
from relay.cli.partner_guide import Edge
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from relay.settings import Settings
    from relay.settings.listener import Listener
    from relay.settings.state import State

__all__ = ["Site", "find_site"]


class Site(NamedTuple):
    """The places and names of one configuration."""

    folder: Path
    allowlist: Path
    edge: Edge
    ca: CaFolder
    """Our CA, which publishes where `[ca] url` says."""
    ca_url: str = ""
    server_certificate: Path | None = None
    """What this relay shows to its clients, as far as it is known."""
    audit: Path | None = None
    """The audit trail; None before there is a configuration."""
    hostname: str = ""
    """Our name in it."""
    est_url: str = ""
    """Where partners enrol; "" if nowhere."""
    est_lifetime: timedelta = timedelta(days=90)
    state: State | None = None
    """What nodes remember together; None before there is a configuration."""
    state_dir: Path | None = None


def find_site(config: Path | None) -> Site:
    """Find the site of a configuration file; without one, that of its folder or the working folder.

    Raises:
        ConfigurationError: the configuration has mistakes.
    """
    try:
        path = find_config(config)
    except ConfigurationError:
        path = Path("gatepost.toml")
    if not path.exists():
        folder = path.parent
        edge = Edge("edge.example.org", 25)
        return Site(folder, folder / "allowlist.toml", edge, CaFolder(folder / "ca"))
    from relay.config import load

    settings = load(path, os.environ).settings
    listener = _public_listener(settings)
    return Site(
        path.parent,
        settings.allowlist,
        _edge_of(settings, listener),
        CaFolder(
            settings.ca.folder,
            publication_at(settings.ca.url, has_responder=bool(settings.ca.address)),
        ),
        ca_url=settings.ca.url,
        server_certificate=listener.certificate[0].chain,
        audit=settings.audit.path,
        hostname=settings.hostname,
        est_url=_est_url(settings),
        est_lifetime=settings.est.lifetime,
        state=settings.state,
        state_dir=settings.state_dir,
    )


def _public_listener(settings: Settings) -> Listener:
    """The first listener that asks for certificates."""
    asking = (each for each in settings.listener if each.client_certificate != "off")
    return next(asking, settings.listener[0])


def _edge_of(settings: Settings, listener: Listener) -> Edge:
    """How a partner reaches a listener."""
    is_implicit = listener.tls == "implicit"
    if listener.address.startswith("unix:"):
        return Edge(settings.hostname, 25, is_implicit)
    return Edge(*_reached_at(listener.address, settings.hostname), is_implicit)


def _est_url(settings: Settings) -> str:
    if not settings.est.address:
        return ""
    name, port = _reached_at(settings.est.address, settings.hostname)
    return f"https://{name}:{port}"


def _reached_at(address: str, hostname: str) -> tuple[str, int]:
    """By which name, for certificates have names, and port: ours, unless it is for this machine only."""
    from relay.settings.values import is_loopback, parse_endpoint

    host, port = parse_endpoint(address)
    return ("localhost" if is_loopback(host) else hostname), port
