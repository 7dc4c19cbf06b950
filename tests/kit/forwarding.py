"""A Forwarder in front of a scripted next hop, and a message to send through it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from relay.model import Address, Envelope, Recipient, Sender
from relay.outbound.forwarder import Forwarder
from relay.outbound.routes import Route, RouteTable, parse_host
from relay.settings.route import Route as RouteSettings
from tests.kit.clock import FakeClock
from tests.kit.next_hop import ScriptedHop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from relay.model import Delivery
    from relay.ports import ClientTls, Dialer
    from relay.smtp.replies import Reply

__all__ = ["BODY", "CLIENT", "Way", "envelope", "make_route", "way_out"]

BODY = b"Subject: hello\r\n\r\n.one dot\r\n..two\r\n"
CLIENT = {"ADDR": "192.0.2.7", "LOGIN": "acme", "HELO": "client.example"}
PATIENCE = timedelta(seconds=5)
"""Real time; only what is meant to fail may come near it."""


class _TlsToken:
    """Stands for a TLS set-up, which the streams in memory do not look into."""


def make_route(name: str = "example.net", **options: Any) -> Route:
    """Make a route; without TLS unless told."""
    token: ClientTls = _TlsToken()
    usual = {"hosts": ("mx1.internal",), "tls": "off", "command_timeout": PATIENCE,
             "connect_timeout": PATIENCE, "data_timeout": PATIENCE, "final_timeout": PATIENCE}  # fmt: skip
    made = RouteSettings.model_construct(
        **{**RouteSettings(hosts=("x",)).__dict__, **usual, **options}
    )
    return Route(name, tuple(parse_host(host) for host in made.hosts), made, tls=token)


def envelope(*names: str, sender: str = "ann") -> Envelope:
    """An envelope from ann@example.org to names at example.net."""
    recipients = [Recipient(Address(name, "example.net")) for name in names or ("bob",)]
    return Envelope(Sender(Address(sender, "example.org")), recipients)


@dataclass
class Way:
    """The forwarder under test, its only route, and the world around it."""

    hop: ScriptedHop
    clock: FakeClock
    route: Route
    forwarder: Forwarder = field(init=False)
    dialer: Dialer | None = None

    def __post_init__(self) -> None:
        table = RouteTable([self.route], hostname="edge.example.org")
        self.forwarder = Forwarder(
            table, self.dialer or self.hop, self.clock, hostname="edge.example.org"
        )

    async def deliver(
        self, *names: str, body: bytes = BODY, client: dict[str, str] | None = None
    ) -> Delivery:
        """Hand over a message in two chunks."""
        chunks = [body[:10], body[10:]]
        return await self.forwarder.deliver(self.route, envelope(*names), chunks, client or CLIENT)

    async def verify(
        self, name: str, *accepted: str, client: dict[str, str] | None = None
    ) -> Reply:
        """Ask for a recipient, others being accepted already."""
        asked = envelope(*accepted) if accepted else Envelope(envelope().sender)
        return await self.forwarder.verify(
            self.route, asked, Address(name, "example.net"), client or CLIENT
        )


@asynccontextmanager
async def way_out(
    hop: ScriptedHop | None = None, *, dialer: Dialer | None = None, **options: Any
) -> AsyncIterator[Way]:
    """Set up a way out (not started), and take it down at the end."""
    made = Way(hop or ScriptedHop(), FakeClock(), make_route(**options), dialer=dialer)
    try:
        yield made
    finally:
        await made.forwarder.close()
        await made.hop.close()
