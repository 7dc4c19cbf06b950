"""The assembly of one worker: the inside joined with the outside, and what its supervisor orders.

What workers share is made before the fork, in `blueprint.py`. Decides nothing about mail.
"""

from __future__ import annotations

import asyncio
import base64
import gc
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from relay.audit.log import AuditLog
from relay.background import hand_over, keep_at, report_next_hops
from relay.dmarc_reports.counting import Counting
from relay.inbound.sealing import Sealing
from relay.inbound.services import Services
from relay.inbound.signing import Signing
from relay.live_policy import (
    LivePolicies,
    make_authentication_results,
    make_consequences,
    make_ledger,
    make_panel,
    offload,
)
from relay.live_trust import LiveTrust
from relay.mail.hygiene import hygiene_by_way
from relay.net.clock import SystemClock
from relay.net.dialer import TcpDialer
from relay.net.interfaces import own_addresses
from relay.net.resolver import open_resolver
from relay.outbound.forwarder import Forwarder
from relay.pki.allowlist import parse_allowlist
from relay.pki.certificate import Certificate
from relay.pki.trust import Anchors
from relay.policy.check import Tools
from relay.policy_files import DEFAULTS, load_policies
from relay.reception import Reception
from relay.revocation.folder import CrlFolder
from relay.revocation.ocsp_news import News, OcspUrls
from relay.revocation.ocsp_view import OcspView
from relay.revocation.view import CrlView
from relay.state.last_known import LastKnown
from relay.state.opening import open_store
from relay.state.outbox import Outbox
from relay.state.watching import Watcher
from relay.supervisor_link import SupervisorLink

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from relay.blueprint import Blueprint
    from relay.net.resolver import DnsResolver
    from relay.net.tally import Row
    from relay.ports import Clock, Store
    from relay.settings.revocation import RevocationAuthority

__all__ = ["Worker"]

log = structlog.get_logger("gatepost")


class _Outside(NamedTuple):
    """What a worker has opened of the world, and closes in the end."""

    clock: Clock
    audit: AuditLog
    forwarder: Forwarder
    store: Store
    watcher: Watcher
    outbox: Outbox
    resolver: DnsResolver

    async def start(self) -> None:
        await self.forwarder.start()
        await self.watcher.start()

    async def close(self) -> None:
        await self.outbox.flush()
        await self.forwarder.close()
        await self.resolver.close()
        await self.store.close()
        await self.audit.close()


class Worker:
    """One worker process: sessions on inherited sockets, orders from the supervisor.

    Args:
        blueprint: what it shares with the others.
        sockets: to listen on, by the listener's name.
        row: its counters.
        control: its end of the socket pair to the supervisor.
        intermediates: CA certificates that others have seen (base64 of their DER).
        knowledge: orders that workers of before were given, and it has missed.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        sockets: Mapping[str, list[socket.socket]],
        row: Row,
        control: socket.socket,
        intermediates: Iterable[str] = (),
        *,
        knowledge: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._blueprint = blueprint
        self._settings = blueprint.material.settings
        self._sockets = sockets
        self._row = row
        self._control = control
        self._intermediates = tuple(intermediates)
        self._knowledge = knowledge
        self._crls = CrlFolder(self._settings.state_dir / "crl")
        self._stopped: asyncio.Event
        self._link: SupervisorLink
        self._outside: _Outside
        self._trust: LiveTrust
        self._policies: LivePolicies
        self._reception: Reception

    async def run(self) -> None:
        """Serve until retired or drained."""
        self._stopped = asyncio.Event()
        self._link = await SupervisorLink.open(self._control)
        outside = self._outside = self._open_outside()
        self._policies = LivePolicies(self._blueprint.material.policies)
        self._trust = self._make_trust()
        self._row.memory_budget = self._settings.limits.memory_budget
        tools = self._make_tools()
        counting = Counting(tools) if self._settings.dmarc_reports.enabled else None
        services = self._make_services(tools, counting)
        self._reception = Reception(self._settings, self._blueprint.server_tls, services, self._row)
        _spare_the_collector()
        await outside.start()
        await self._reception.open(self._sockets)
        self._link.tell("ready")
        background = [asyncio.create_task(keep_at(work)) for work in self._background(counting)]
        await self._stopped.wait()
        for task in background:
            task.cancel()
        await outside.close()

    # --- assembly -----------------------------------------------------------------------------

    def _open_outside(self) -> _Outside:
        settings, clock = self._settings, SystemClock()
        store = open_store(settings.state, settings.state_dir)
        is_elsewhere = settings.state.kind == "redis"
        last_known = LastKnown(settings.state_dir / "restrictions.json") if is_elsewhere else None
        return _Outside(
            clock,
            AuditLog(settings.audit.path, sync=settings.audit.sync, node=settings.hostname),
            Forwarder(self._blueprint.routes, TcpDialer(), clock, hostname=settings.hostname),
            store,
            Watcher(store, clock, self._restrictions_changed, last_known),
            Outbox(store, clock),
            open_resolver(settings.dns),
        )

    def _make_trust(self) -> LiveTrust:
        """Make the trust decision, with all that is known by now of revocation."""
        settings, link = self._settings.revocation, self._link
        ocsp = None
        if settings.fetch and "ocsp" in settings.sources:
            ocsp = OcspView(OcspUrls(self._authorities()), settings.ocsp_timeout, link.ask)
        trust = LiveTrust(
            self._blueprint.material,
            self._outside.clock,
            link.share,
            CrlView(settings.grace, link.want if settings.fetch else None, self._authorities()),
            ocsp,
            restrictions=self._outside.watcher.view,
        )
        trust.replace_crls(self._crls.read())
        for certificate in self._intermediates:
            trust.intermediates.add(_certificate(certificate))
        for order in self._knowledge:
            self._learn(trust, order)
        return trust

    def _authorities(self) -> Iterator[tuple[Sequence[Certificate], RevocationAuthority]]:
        """The CAs of `[[revocation.authority]]` and what is said of them."""
        return ((each.certificates, each.settings) for each in self._blueprint.material.authorities)

    def _restrictions_changed(self) -> None:
        self._trust.restrictions_changed()

    def _make_tools(self) -> Tools:
        """What checks are made with."""
        outside = self._outside
        return Tools(
            self._settings.hostname,
            outside.clock,
            outside.resolver,
            outside.store,
            offload,
            country_of=self._blueprint.material.country_of,
        )

    def _make_services(self, tools: Tools, counting: Counting | None) -> Services:
        """What sessions are made with."""
        settings, outside = self._settings, self._outside
        panel = make_panel(settings.checks, tools)
        consequences = make_consequences(settings, outside.watcher.view, _own_addresses())
        return Services(
            hostname=settings.hostname,
            limits=settings.limits,
            timeouts=settings.timeouts,
            clock=outside.clock,
            audit=outside.audit,
            trust=self._trust,
            policies=self._policies,
            panel=panel,
            consequences=consequences,
            ledger=make_ledger(
                settings.checks, consequences, outside.store, outside.outbox, outside.clock
            ),
            bans_are_permanent=settings.policy.banned == "permanent",
            restrict=outside.watcher.restrict,
            next_hop=outside.forwarder,
            budget=self._row,
            statistics=self._row,
            authentication_results=make_authentication_results(settings, panel),
            offload=offload,
            signing=self._signing(),
            sealing=self._sealing(tools),
            feedback=counting,
            hygiene=hygiene_by_way(settings, self._blueprint.pseudonym_key),
        )

    def _signing(self) -> Signing | None:
        """What signs; None without a key that does."""
        keyring = self._blueprint.material.keyring
        return Signing(keyring, self._outside.clock) if keyring.signs else None

    def _sealing(self, tools: Tools) -> Sealing | None:
        """What seals; None without a key that does."""
        settings, key = self._settings, self._blueprint.material.keyring.seal
        if key is None:
            return None
        name = settings.authentication_results.authserv_id or settings.hostname
        return Sealing(key, name, tools, settings.checks.timeout.total_seconds())

    def _background(self, counting: Counting | None) -> Iterator[Callable[[], Awaitable[None]]]:
        """What is done beside the sessions."""
        outside = self._outside
        yield self._obey
        yield partial(report_next_hops, outside.forwarder, self._row)
        yield partial(self._reception.keep_trusted, self._trust)
        yield outside.watcher.run
        yield outside.outbox.run
        if counting is not None:
            yield partial(
                hand_over, counting, lambda counted: self._link.tell("counted", counted=counted)
            )

    # --- orders from the supervisor -------------------------------------------------------

    async def _obey(self) -> None:
        """Obey the supervisor; without one, or unable to, drain: nobody serves on without orders."""
        try:
            await self._obey_each()
        except ConnectionError:
            pass  # it was killed, and had not read all of what we told
        except Exception:
            log.exception("order not obeyed")
        await self._reception.drain()
        self._stopped.set()

    async def _obey_each(self) -> None:
        """Obey its orders, up to the last."""
        while order := await self._link.next_order():
            match order["order"]:
                case "retire":
                    asyncio.create_task(self._retire())  # noqa: RUF006  ends with the process
                case "drain":
                    return
                case "reopen":
                    self._outside.audit.reopen()
                case "intermediate":
                    self._trust.intermediates.add(_certificate(order["certificate"]))
                case "revocation":
                    self._trust.replace_crls(await asyncio.to_thread(self._crls.read))
                case "anchors":
                    self._trust.replace_anchors(
                        await asyncio.to_thread(_read_anchors, order["anchors"])
                    )
                case "ocsp" | "staple":
                    self._learn(self._trust, order)
                case "policies":
                    await self._take_over_policies(order)
                case "allowlist":
                    # The supervisor has checked it; a thread keeps the loop free.
                    self._trust.replace(
                        await asyncio.to_thread(parse_allowlist, order["text"], order["path"])
                    )

    async def _retire(self) -> None:
        """Let every session go on to its own end, then stop."""
        await self._reception.retire()
        self._stopped.set()

    async def _take_over_policies(self, order: Mapping[str, Any]) -> None:
        """Put rules in force that the supervisor has checked; a thread keeps the loop free."""
        stacks = self._policies.stacks
        if not {name for stack in stacks.values() for name in stack} <= {DEFAULTS, *order["texts"]}:
            return  # of a newer configuration: ours are other files
        self._policies.replace(
            await asyncio.to_thread(
                load_policies,
                stacks,
                order["texts"].__getitem__,
                map(tuple, order["additions"]),
            )
        )

    def _learn(self, trust: LiveTrust, order: Mapping[str, Any]) -> None:
        """Take what OCSP responders have said of clients, or of a certificate of our own."""
        if order["order"] == "ocsp":
            trust.learn(map(News.of, order["news"]))
            return
        response = base64.b64decode(order["response"])
        for tls in self._blueprint.server_tls.values():
            tls.staple(order["certificate"], response, order["until"])


def _spare_the_collector() -> None:
    """Have the garbage collector do as little as connections need."""
    # What was made before the fork stays for good: the collector need not look at it again. It
    # must not look even once: that writes to each object, and 13 MiB would no longer be shared.
    gc.freeze()
    # Nothing of a connection is a circle, so the collector finds little. A full round over ten
    # thousand connections would hold the loop up for 0.15 s, so there is one hardly ever.
    gc.set_threshold(1_000, 10, 1_000)


def _own_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """This machine's addresses; where it does not say, those of listeners must do."""
    try:
        return own_addresses()
    except OSError as error:
        log.warning("this machine's addresses are not known", reason=error.strerror)
        return frozenset()


def _read_anchors(told: Mapping[str, Sequence[str]]) -> dict[str, Anchors]:
    """Read anchors by listener, each certificate as base64 of its DER."""
    return {name: Anchors(map(_certificate, texts)) for name, texts in told.items()}


def _certificate(text: str) -> Certificate:
    return Certificate(base64.b64decode(text))
