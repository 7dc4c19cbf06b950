"""A worker's line to its supervisor: orders that come, news that go, a JSON line each.

Knows how both are written down, and nothing of what follows from them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from relay.pki.certificate import Certificate

__all__ = ["SupervisorLink"]

_MAX_ORDER_BYTES: Final = 2**28
_MAX_UNHEARD_BYTES: Final = 2**24
"""If the supervisor does not read, something else is wrong: no reason to fill the memory."""


class SupervisorLink:
    """The worker's end. Made by `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, control: socket.socket) -> SupervisorLink:
        """Take over the worker's end of the socket pair."""
        return cls(*await asyncio.open_connection(sock=control, limit=_MAX_ORDER_BYTES))

    async def next_order(self) -> dict[str, Any] | None:
        """Wait for an order; None when there is no supervisor any more.

        Raises:
            ConnectionError: it was killed, and had not read all that we told.
            ValueError: what came is no order.
        """
        line = await self._reader.readline()
        return cast("dict[str, Any]", json.loads(line)) if line else None

    def tell(self, event: str, **fields: object) -> None:
        """Tell something; what is not read yet waits here, whole."""
        if self._writer.transport.get_write_buffer_size() < _MAX_UNHEARD_BYTES:
            self._writer.write(json.dumps({"event": event, **fields}).encode() + b"\n")

    def share(self, certificate: Certificate) -> None:
        """Have the other workers learn of a CA certificate."""
        self.tell("intermediate", certificate=_in_base64(certificate))

    def want(self, urls: Sequence[str], delta_urls: Sequence[str], issuer: Certificate) -> None:
        """Have the revocation lists of a CA fetched from where a certificate of it says."""
        self.tell("want", urls=urls, delta_urls=delta_urls, issuer=_in_base64(issuer))

    def ask(self, key: str, certificate: Certificate, issuer: Certificate) -> None:
        """Have OCSP responders asked about a certificate."""
        self.tell("ask", key=key, certificate=_in_base64(certificate), issuer=_in_base64(issuer))


def _in_base64(certificate: Certificate) -> str:
    return base64.b64encode(certificate.der).decode()
