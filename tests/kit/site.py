"""A whole test site: a CA, an edge, an MX and three clients, as files and as settings.

Knows how a configuration looks from outside; starts nothing.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.kit.pki import Authority, Issued
from tests.kit.relay_process import free_port

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = "dest.example"
RECIPIENT = f"user@{DOMAIN}"
SENDER = "billing@acme.example"


@dataclass(frozen=True)
class Files:
    """A certificate with its key, as files."""

    chain: Path
    key: Path
    pin: str

    def __iter__(self) -> Any:
        return iter((self.chain, self.key))


class Site:
    """Certificates in a folder, and the settings that use them.

    `pinned` is on the allowlist; `unpinned` is from the same CA and is not; `foreign` is from a CA
    that nobody here knows. `name_server` is for relays to ask; the system's if it is "".
    """

    def __init__(self, folder: Path, name_server: str = "") -> None:
        self.folder = folder
        self.name_server = name_server
        self.authority = Authority("Test Root")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem)
        local: dict[str, Any] = {"dns": ("localhost",), "ip": ("127.0.0.1",), "usages": ("server",)}
        self.edge = self.files("edge", self.authority.issue("edge.example", days=90, **local))
        self.mx = self.files("mx", self.authority.issue("mx.example", days=90, **local))
        self.impostor = self.files("impostor", Authority("Elsewhere").issue("mx.example", **local))
        self.pinned = self.files("pinned", self.authority.issue("billing.acme.example"))
        self.unpinned = self.files("unpinned", self.authority.issue("other.acme.example"))
        self.foreign = self.files("foreign", Authority("Foreign Root").issue("x.foreign.example"))

    def files(self, name: str, issued: Issued) -> Files:
        """Write a certificate and its key."""
        return Files(*issued.write(self.folder, name), issued.pin)

    def allowlist(self, extra: str = "") -> str:
        """Return an allowlist with the pinned client, who may write as acme.example."""
        return (
            '[[identity]]\nname = "acme-billing"\n'
            f'pins = ["{self.pinned.pin}"]\nsenders = ["@acme.example"]\n{extra}'
        )

    def settings(self, *upstream_ports: int, **tables: Any) -> dict[str, Any]:
        """Return a whole configuration; `tables` replace or add to what stands here.

        `listener` and `route` add keys to the one listener and the one route.
        """
        listener = {
            "name": "partners",
            "address": f"127.0.0.1:{free_port()}",
            "certificate": [{"chain": str(self.edge.chain), "key": str(self.edge.key)}],
            "max_connections_per_address": 0,
            **tables.pop("listener", {}),
        }
        route = {
            "hosts": [f"127.0.0.1:{port}" for port in upstream_ports],
            "ca": [str(self.ca)],
            "server_name": "localhost",
            **tables.pop("route", {}),
        }
        names = {"dns": {"servers": [self.name_server]}} if self.name_server else {}
        return {
            "hostname": "edge.example",
            "workers": 2,
            **names,
            "limits": {"max_connections": 12_000, **tables.pop("limits", {})},
            **tables,
            "listener": [listener],
            "route": {"*": route},
        }

    def context(self, client: Files | None = None) -> ssl.SSLContext:
        """Return a verifying TLS client context, with a client certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            context.load_cert_chain(client.chain, client.key)
        return context


def with_public_listener(settings: dict[str, Any], **listener: Any) -> dict[str, Any]:
    """Add a listener that anybody may use, like the one that is there but for what is given.

    A proxy on loopback tells who speaks, and mail for `DOMAIN` has a route.
    """
    public = {
        "name": "public",
        "address": f"127.0.0.1:{free_port()}",
        "client_certificate": "optional",
        "proxy_protocol_from": ["127.0.0.0/8"],
    }
    settings["listener"].append(settings["listener"][0] | public | listener)
    settings["route"][DOMAIN] = settings["route"]["*"]
    return settings
