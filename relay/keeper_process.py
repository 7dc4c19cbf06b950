"""The process that keeps the revocation lists: forked by the supervisor, heard, replaced when it dies.

It lives on its own: while it is away, workers go on with the lists they have. What it does is
`revocation.keeper`'s; when it is forked, and what follows from what it tells, the supervisor knows.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from typing import TYPE_CHECKING, Any, Final, NoReturn

from relay.net.clock import SystemClock
from relay.pki.certificate import Certificate
from relay.side_process import SideProcess

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable, Iterable

    from relay.material import Material

__all__ = ["KeeperProcess", "keep"]

MAX_WANTED: Final = 1000
_NICENESS: Final = 10
"""A list of a million entries takes seconds to read: mail goes first."""


class KeeperProcess(SideProcess):
    """The supervisor's side; what workers want is told to each keeper that is forked."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        become: Callable[[socket.socket], NoReturn],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__("keeper of revocation lists", selector, become, hear)
        self._wanted: dict[str, dict[str, Any]] = {}

    def want(self, message: dict[str, Any]) -> None:
        """Pass on what a worker wants fetched; kept for the next one that is forked."""
        order = {**message, "order": "want"}
        key = json.dumps([message["urls"], message["delta_urls"], message["issuer"]])
        if key not in self._wanted and len(self._wanted) >= MAX_WANTED:
            return
        self._wanted[key] = order
        self.order(order)

    def _first_orders(self) -> Iterable[dict[str, Any]]:
        return self._wanted.values()


async def keep(material: Material, control: socket.socket) -> None:
    """Be the keeper: obey the supervisor until it is gone.

    Args:
        material: the settings and CAs.
        control: our end of the socket pair.
    """
    # The HTTP client is no small thing, and nobody but this process needs it.
    from relay.net.fetcher import Fetcher  # noqa: PLC0415
    from relay.revocation.keeper import Keeper  # noqa: PLC0415

    os.nice(_NICENESS)
    settings = material.settings.revocation
    reader, writer = await asyncio.open_connection(sock=control, limit=2**20)

    def tell(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    async with Fetcher(
        settings.timeout,
        settings.max_crl_bytes,
        allow_private_addresses=settings.allow_private_addresses,
    ) as fetcher:
        keeper = Keeper(
            material.settings.state_dir / "crl",
            settings,
            material.authorities,
            SystemClock(),
            fetcher,
            tell=lambda: tell({"event": "revocation", "sources": keeper.state()}),
            chance=random.random,
        )
        await keeper.prepare()
        tell({"event": "ready"})
        keeper.start()
        while line := await reader.readline():
            order = json.loads(line)
            issuer = Certificate(base64.b64decode(order["issuer"]))
            keeper.want(order["urls"], order["delta_urls"], issuer)
        keeper.stop()
