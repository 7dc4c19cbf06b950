"""The process that keeps revocation lists and OCSP answers: forked by the supervisor, heard, replaced when it dies.

It lives on its own: while it is away, workers go on with what they have. What it does is `revocation.keeper`'s and
`revocation.ocsp_keeper`'s; when it is forked, and what follows from what it tells, the supervisor knows.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import secrets
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from relay.net.clock import SystemClock
from relay.pki.certificate import Certificate
from relay.pki.crl import issuer_ids
from relay.pki.crl_lookup import look_up
from relay.pki.ocsp import MAX_RESPONSE_BYTES
from relay.revocation.ocsp_news import OcspUrls
from relay.side_process import SideProcess

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable, Iterable, Sequence

    from relay.material import Material
    from relay.pki.revocation import Answer
    from relay.ports import Clock
    from relay.revocation.keeper import Keeper
    from relay.revocation.ocsp_keeper import OcspKeeper
    from relay.revocation.ocsp_news import News, Staple

__all__ = ["KeeperProcess", "keep"]

MAX_WANTED: Final = 1000
MAX_KNOWN: Final = 20_000
_AT_A_TIME: Final = 64
"""OCSP requests, to all responders together."""
_NICENESS: Final = 10
"""A list of a million entries takes seconds to read: mail goes first."""


class KeeperProcess(SideProcess):
    """The supervisor's side.

    What workers want is told to each keeper that is forked, and what keepers have learnt to each worker.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        become: Callable[[socket.socket], NoReturn],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__("keeper of revocation lists", selector, become, hear)
        self._wanted: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._news: dict[str, list[list[Any]]] = {}
        self._staples: dict[str, dict[str, Any]] = {}

    def want(self, message: dict[str, Any]) -> None:
        """Pass on what a worker wants fetched; kept for the next one that is forked."""
        order = {**message, "order": "want"}
        key = json.dumps([message["urls"], message["delta_urls"], message["issuer"]])
        if key not in self._wanted and len(self._wanted) >= MAX_WANTED:
            return
        self._wanted[key] = order
        self.order(order)

    def ask(self, message: dict[str, Any]) -> None:
        """Pass on what a worker wants asked; until it is answered, the next one that is forked is told too."""
        order = {**message, "order": "ask"}
        if len(self._asked) < MAX_WANTED:
            self._asked[message["key"]] = order
        self.order(order)

    def take_news(self, news: list[list[Any]]) -> dict[str, Any]:
        """Remember what OCSP responders have said; return the order that tells it to workers."""
        by_key: dict[str, list[list[Any]]] = {}
        for each in news:
            by_key.setdefault(each[0], []).append(each)
        for key, told in by_key.items():
            self._asked.pop(key, None)
            self._news.pop(key, None)
            self._news[key] = told
        while len(self._news) > MAX_KNOWN:
            del self._news[next(iter(self._news))]
        return {"order": "ocsp", "news": news}

    def take_staple(self, message: dict[str, Any]) -> dict[str, Any]:
        """Remember an answer about a certificate of our own; return the order that tells it to workers."""
        order = {**message, "order": "staple"}
        self._staples[message["certificate"]] = order
        return order

    def knowledge(self) -> list[dict[str, Any]]:
        """What a new worker is to be told of all this."""
        news = [each for told in self._news.values() for each in told]
        return [{"order": "ocsp", "news": news}, *self._staples.values()]

    def ocsp_state(self) -> dict[str, Any]:
        """What there is to say of OCSP, for people: certificates by outcome, and what is stapled."""
        outcomes = Counter(told[0][1] for told in self._news.values())
        staples = [
            {
                "certificate": key,
                "until": f"{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
            for key, until in self.shown_until().items()
        ]
        return {"outcomes": dict(outcomes), "staples": staples}

    def shown_until(self) -> dict[str, float]:
        """Until when there is an answer about certificates of our own, by their SHA-256."""
        return {key: order["until"] for key, order in self._staples.items()}

    def _first_orders(self) -> Iterable[dict[str, Any]]:
        return [*self._wanted.values(), *self._asked.values()]


async def keep(material: Material, control: socket.socket) -> None:
    """Be the keeper: obey the supervisor until it is gone.

    Args:
        material: the settings and CAs.
        control: our end of the socket pair.
    """
    os.nice(_NICENESS)
    reader, writer = await asyncio.open_connection(sock=control, limit=2**20)

    def tell(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    async with AsyncExitStack() as stack:
        clock = SystemClock()
        keeper = await _open_keeper(stack, material, clock, tell)
        ocsp_keeper = await _open_ocsp_keeper(stack, material, clock, tell)
        await keeper.prepare()
        await ocsp_keeper.prepare()
        tell({"event": "ready"})
        keeper.start()
        ocsp_keeper.start()
        while line := await reader.readline():
            order = json.loads(line)
            issuer = Certificate(base64.b64decode(order["issuer"]))
            if order["order"] == "want":
                keeper.want(order["urls"], order["delta_urls"], issuer)
            else:
                ocsp_keeper.ask(Certificate(base64.b64decode(order["certificate"])), issuer)
        keeper.stop()
        ocsp_keeper.stop()


async def _open_keeper(
    stack: AsyncExitStack,
    material: Material,
    clock: Clock,
    tell: Callable[[dict[str, Any]], None],
) -> Keeper:
    # The HTTP client is no small thing, and nobody but this process needs it.
    from relay.net.fetcher import Fetcher  # noqa: PLC0415
    from relay.revocation.keeper import Keeper  # noqa: PLC0415

    settings = material.settings.revocation
    fetcher = Fetcher(
        settings.timeout,
        settings.max_crl_bytes,
        allow_private_addresses=settings.allow_private_addresses,
    )
    keeper = Keeper(
        material.settings.state_dir / "crl",
        settings,
        material.authorities,
        clock,
        await stack.enter_async_context(fetcher),
        tell=lambda: tell({"event": "revocation", "sources": keeper.state()}),
        chance=random.random,
    )
    return keeper


async def _open_ocsp_keeper(
    stack: AsyncExitStack,
    material: Material,
    clock: Clock,
    tell: Callable[[dict[str, Any]], None],
) -> OcspKeeper:
    from relay.net.fetcher import Fetcher  # noqa: PLC0415
    from relay.revocation.folder import CrlFolder  # noqa: PLC0415
    from relay.revocation.ocsp_keeper import OcspKeeper  # noqa: PLC0415
    from relay.revocation.ocsp_responders import Responders  # noqa: PLC0415
    from relay.revocation.stapling import own_certificates  # noqa: PLC0415

    def tell_news(news: Sequence[News]) -> None:
        tell({"event": "ocsp", "news": news})

    def show(staple: Staple) -> None:
        response = base64.b64encode(staple.response).decode()
        tell(
            {
                "event": "staple",
                "certificate": staple.certificate,
                "response": response,
                "until": staple.until,
            }
        )

    def in_lists(certificate: Certificate, issuer: Certificate) -> Answer:
        lists = folder.read().get(issuer_ids(issuer), ())
        return look_up(certificate, issuer, lists, clock.now(), settings.grace)

    folder = CrlFolder(material.settings.state_dir / "crl")
    settings = material.settings.revocation
    fetcher = Fetcher(
        settings.ocsp_timeout,
        MAX_RESPONSE_BYTES,
        allow_private_addresses=settings.allow_private_addresses,
        at_a_time=_AT_A_TIME,
    )
    return OcspKeeper(
        material.settings.state_dir / "ocsp",
        settings,
        OcspUrls((each.certificates, each.settings) for each in material.authorities),
        clock,
        Responders(
            await stack.enter_async_context(fetcher), settings, clock, secrets.token_bytes, in_lists
        ),
        own=own_certificates(material),
        tell=tell_news,
        show=show,
        chance=random.random,
    )
