"""What workers share, made before they are forked: TLS contexts and routes, from the material.

A session ticket of one worker resumes in another, as all have the same contexts. Serves nobody.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relay.net.tls import ClientTls, ServerTls
from relay.outbound.routes import Route, RouteTable, parse_host
from relay.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.material import Material
    from relay.pki.allowlist import Allowlist
    from relay.policy_files import Policies

__all__ = ["Blueprint", "build", "with_allowlist", "with_policies"]


@dataclass(frozen=True)
class Blueprint:
    """What is made once a configuration, before the workers are forked."""

    material: Material
    server_tls: Mapping[str, ServerTls]
    routes: RouteTable
    pseudonym_key: bytes
    """Makes names and addresses of the inside anonymous; drawn anew each time, and kept nowhere."""


def build(material: Material) -> Blueprint:
    """Make the TLS contexts and the routes.

    Raises:
        ConfigurationError: OpenSSL does not take a certificate or key.
    """
    settings = material.settings
    return Blueprint(
        material=material,
        server_tls={
            listener.name: ServerTls(
                material.listeners[listener.name].key_pairs,
                PROFILES[listener.profile],
                request_certificate=listener.client_certificate != "off",
                session_id=listener.name.encode(),
            )
            for listener in settings.listener
        },
        routes=RouteTable(
            [
                Route(
                    name=name,
                    hosts=tuple(parse_host(host) for host in route.hosts),
                    settings=route,
                    anchors=material.routes[name].anchors,
                    pins=material.routes[name].pins,
                    tls=ClientTls(material.routes[name].key_pair),
                )
                for name, route in settings.route.items()
            ],
            hostname=settings.hostname,
        ),
        pseudonym_key=secrets.token_bytes(32),
    )


def with_allowlist(blueprint: Blueprint, allowlist: Allowlist) -> Blueprint:
    """Return the blueprint for workers to come, with another allowlist."""
    return replace(blueprint, material=replace(blueprint.material, allowlist=allowlist))


def with_policies(blueprint: Blueprint, policies: Policies) -> Blueprint:
    """Return the blueprint for workers to come, with other rules."""
    return replace(blueprint, material=replace(blueprint.material, policies=policies))
