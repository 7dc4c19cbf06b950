"""The way out: routes, pools and the memory of recipients joined to `ports.NextHop`.

Hands messages to next hops and says what became of them: our 250 is theirs. It must not know
where a message came from. RFC 5321 4.2.5, 6.1 (responsibility passes with the final 250).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import StreamError, Unavailable
from relay.model import Delivery, Recipient
from relay.outbound.attempt import attempt
from relay.outbound.connection import Opener
from relay.outbound.failures import passed_on, reply_to
from relay.outbound.pool import Pool
from relay.outbound.recipients import Recipients
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable, Mapping, Sequence

    from relay.model import Address, Envelope, Octets
    from relay.outbound.routes import Host, Route, RouteTable
    from relay.ports import Clock, Dialer
    from relay.smtp.client import Outcome

__all__ = ["Forwarder", "HostStatus"]

_SWEEP_SECONDS = 1.0
_START_SECONDS = 1.0
"""How long the first clients may be kept waiting for what the next hops offer."""
_NOT_ASKED = Reply(250, "2.1.5", ("Ok",))
_TOO_MANY = Reply(452, "4.5.3", ("Too many recipients for the next hop",))


class HostStatus(NamedTuple):
    """How a host does, for `gatepost status`: `problem` is "" while it is well."""

    route: str
    host: Host
    problem: str
    connections: int
    idle: int


class Forwarder:
    """Implements `ports.NextHop`. `start` before use, `close` at the end."""

    def __init__(self, table: RouteTable, dialer: Dialer, clock: Clock, *, hostname: str) -> None:
        self._table = table
        self._clock = clock
        self._recipients = Recipients(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pools: dict[str, tuple[Pool, ...]] = {}
        # Asked for each EHLO, and next hops change hardly ever.
        self._offers: list[Extensions | None] = []
        self._common = _joined(())
        for route in table.routes:
            openers = [
                Opener(route, host, dialer=dialer, clock=clock, hostname=hostname)
                for host in route.hosts
            ]
            self._pools[route.name] = tuple(
                Pool(host, opener.open, route.settings, clock)
                for host, opener in zip(route.hosts, openers, strict=True)
            )

    async def start(self) -> None:
        """Learn what the next hops offer: a moment is waited for it, the rest is done in the background.

        Without that moment the first clients would be offered no 8BITMIME, and convert their mail.
        """
        learning = [
            self._run(self._learn(pool)) for pools in self._pools.values() for pool in pools
        ]
        self._run(self._sweep())
        await asyncio.wait(learning, timeout=_START_SECONDS)

    async def close(self) -> None:
        """Stop, and take leave of the next hops; deliveries under way go on to their end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._recipients.close()
        pools = (pool for pools in self._pools.values() for pool in pools)
        await asyncio.gather(*(pool.close() for pool in pools))

    def status(self) -> tuple[HostStatus, ...]:
        """Say how every host does, as far as this worker knows."""
        return tuple(
            HostStatus(name, pool.host, pool.health.problem, pool.size, pool.idle)
            for name, pools in self._pools.items()
            for pool in pools
        )

    # --- ports.NextHop ----------------------------------------------------------------------

    def route_for(self, recipient: Address, *, identified: bool) -> Route | None:
        """The route of a recipient; None: we do not relay there."""
        return self._table.find(recipient.domain, identified=identified)

    def extensions(self) -> Extensions:
        """What every next hop offers, as far as known: what we may offer to clients.

        A route that has never been reached does not count, unless there is no other: its mail is
        deferred, and must not cost the others their extensions. PIPELINING, CHUNKING, STARTTLS and enhanced codes end at us; they are set, so that they do not
        restrict what the caller joins this with.
        """
        offers = [pool.extensions for pools in self._pools.values() for pool in pools]
        if offers != self._offers:
            known = (pools for pools in self._pools.values() if any(p.extensions for p in pools))
            self._common = _joined(tuple(map(_offered, known)))
        self._offers = offers  # the very same ones are found equal at a glance
        return self._common

    async def verify(
        self, route: Route, envelope: Envelope, recipient: Address, client: Mapping[str, str]
    ) -> Reply:
        """Ask the next hop whether it takes this recipient from this sender (cached, coalesced)."""
        count = len(envelope.recipients)
        for pool in self._pools[route.name]:
            if pool.extensions is not None and 0 < pool.extensions.rcptmax <= count:
                return _TOO_MANY  # RFC 9422 4.2
        key = _question(route, envelope, recipient, client)
        known = self._recipients.recall(key)
        if known is not None:
            return known
        if not route.settings.verify_recipients:
            return _NOT_ASKED

        async def ask() -> Reply:
            answer = await attempt(
                self._pools[route.name],
                lambda engine: engine.probe(envelope, Recipient(recipient), client),
            )
            return _reply_of(answer.result, answer.error)

        return await self._recipients.ask(key, ask, route.settings.recipient_cache)

    async def deliver(
        self, route: Route, envelope: Envelope, chunks: Sequence[Octets], client: Mapping[str, str]
    ) -> Delivery:
        """Hand one message over. Never raises for the next hop's failures: they are 4xx replies."""
        started = self._clock.monotonic()
        answer = await attempt(
            self._pools[route.name], lambda engine: engine.transact(envelope, chunks, client)
        )
        outcome, connection = answer.result, answer.connection
        if outcome is not None and outcome.refused:
            self._learn_refusals(route, envelope, outcome, client)
        return Delivery(
            accepted=outcome is not None and outcome.accepted,
            reply=_reply_of(outcome and outcome.reply, answer.error),
            route=route.name,
            host=str(answer.pool.host),
            endpoint=connection.stream.peer if connection else None,
            tls=connection.tls if connection else None,
            elapsed=timedelta(seconds=self._clock.monotonic() - started),
            reason=str(answer.error or ""),
        )

    # --- what is learnt ---------------------------------------------------------------------

    def _learn_refusals(
        self, route: Route, envelope: Envelope, outcome: Outcome, client: Mapping[str, str]
    ) -> None:
        """Remember who was refused, so that the sender's next try hears it at RCPT."""
        for recipient, reply in outcome.refused:
            if reply.code != 421:  # about the connection, not the recipient
                key = _question(route, envelope, recipient.address, client)
                self._recipients.surprise(key, passed_on(reply))

    async def _learn(self, pool: Pool) -> None:
        """Reach a host once, when its pool lets us; the pool notes what it offers."""
        while pool.extensions is None:
            try:
                pool.release(await pool.acquire())
            except (StreamError, Unavailable):
                await asyncio.sleep(_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for pools in self._pools.values():
                for pool in pools:
                    pool.expire()

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _joined(known: tuple[Extensions, ...]) -> Extensions:
    """What all routes offer."""
    return replace(
        reduce(Extensions.intersected, known) if known else Extensions(),
        pipelining=True,
        chunking=True,
        starttls=True,
        enhanced_status_codes=True,
        mailmax=0,  # RFC 9422: a matter of one connection, and the pool's
    )


def _offered(pools: Sequence[Pool]) -> Extensions:
    """What all hosts of a route offer that we have seen; nothing, if we have seen none."""
    known = [pool.extensions for pool in pools if pool.extensions is not None]
    return reduce(Extensions.intersected, known) if known else Extensions()


def _question(
    route: Route, envelope: Envelope, recipient: Address, client: Mapping[str, str]
) -> Hashable:
    """What the answer to "do you take this recipient?" may depend on."""
    asker = (client.get("ADDR"), client.get("LOGIN")) if route.settings.xclient else None
    return route.name, envelope.sender.address, recipient, asker


def _reply_of(reply: Reply | None, error: StreamError | Unavailable | None) -> Reply:
    if reply is not None:
        return passed_on(reply)
    assert error is not None
    return reply_to(error)
