"""The assembly: everything built from the settings, and one worker's life.

`build` makes, in the supervisor and before the fork, what all workers share (TLS contexts, so that
a session ticket of one worker resumes in another). `Worker` joins the inside with the outside and
serves until it is told to stop. Decides nothing about mail.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from relay.audit.log import AuditLog
from relay.dmarc_reports.counting import Counting
from relay.errors import StreamError
from relay.inbound import failures
from relay.inbound.sealing import Sealing
from relay.inbound.session import Services, Session
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
from relay.net.listener import read_proxy_header, serve
from relay.net.resolver import open_resolver
from relay.net.tls import ClientTls, ServerTls
from relay.outbound.forwarder import Forwarder
from relay.outbound.routes import Route, RouteTable, parse_host
from relay.pki.allowlist import Allowlist, parse_allowlist
from relay.pki.certificate import Certificate
from relay.pki.trust import Anchors
from relay.policy.check import Tools
from relay.policy_files import DEFAULTS, load_policies
from relay.revocation.folder import CrlFolder
from relay.revocation.ocsp_news import News, OcspUrls
from relay.revocation.ocsp_view import OcspView
from relay.revocation.view import CrlView
from relay.state.last_known import LastKnown
from relay.state.opening import open_store
from relay.state.outbox import Outbox
from relay.state.watching import Watcher
from relay.tls.profile import PROFILES

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from relay.material import Material
    from relay.net.stream import TcpStream
    from relay.net.tally import Row
    from relay.policy_files import Policies
    from relay.ports import Clock
    from relay.settings.listener import Listener
    from relay.settings.revocation import RevocationAuthority

__all__ = ["Blueprint", "Worker", "build", "with_allowlist", "with_policies"]

log = structlog.get_logger("gatepost")

_REPORT_SECONDS = 1.0
_COUNT_SECONDS = 2.0
"""How often what was counted for reports is handed over."""
_LOOK_SECONDS = 0.2
"""How soon live sessions are looked at once trust may have changed."""
_MAX_UNHEARD_BYTES = 2**24
"""If the supervisor does not read, something else is wrong: no reason to fill the memory."""
_SLICE_SECONDS = 0.002
"""How long that may hold up the event loop at a time."""
_AGAIN_SECONDS = 1.0
"""The pause before background work that has failed begins again."""


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


class Worker:
    """One worker process: sessions on inherited sockets, orders from the supervisor."""

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
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._stopped: asyncio.Event
        self._crls = CrlFolder(self._settings.state_dir / "crl")
        self._trust: LiveTrust
        self._policies: LivePolicies
        self._services: Services
        self._writer: asyncio.StreamWriter

    async def run(self) -> None:
        """Serve until retired or drained."""
        settings = self._settings
        self._stopped = asyncio.Event()
        clock = SystemClock()
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=2**28)
        audit = AuditLog(settings.audit.path, sync=settings.audit.sync, node=settings.hostname)
        forwarder = Forwarder(
            self._blueprint.routes, TcpDialer(), clock, hostname=settings.hostname
        )
        self._policies = LivePolicies(self._blueprint.material.policies)
        store = open_store(settings.state, settings.state_dir)
        is_elsewhere = settings.state.kind == "redis"
        last_known = LastKnown(settings.state_dir / "restrictions.json") if is_elsewhere else None
        watcher = Watcher(store, clock, self._restrictions_changed, last_known)
        outbox = Outbox(store, clock)
        consequences = make_consequences(settings, watcher.view, _own_addresses())
        resolver = open_resolver(settings.dns)
        crls = CrlView(
            settings.revocation.grace,
            self._want if settings.revocation.fetch else None,
            self._authorities(),
        )
        self._trust = LiveTrust(
            self._blueprint.material,
            clock,
            self._tell_of,
            crls,
            self._ocsp_view(),
            restrictions=watcher.view,
        )
        self._trust.replace_crls(self._crls.read())
        for certificate in self._intermediates:
            self._learn(certificate)
        for order in self._knowledge:
            self._learn_of_revocation(order)
        self._row.memory_budget = settings.limits.memory_budget
        tools = Tools(
            settings.hostname,
            clock,
            resolver,
            store,
            offload,
            country_of=self._blueprint.material.country_of,
        )
        panel = make_panel(settings.checks, tools)
        counting = Counting(tools) if settings.dmarc_reports.enabled else None
        self._services = Services(
            hostname=settings.hostname,
            limits=settings.limits,
            timeouts=settings.timeouts,
            clock=clock,
            audit=audit,
            trust=self._trust,
            policies=self._policies,
            panel=panel,
            consequences=consequences,
            ledger=make_ledger(settings.checks, consequences, store, outbox, clock),
            bans_are_permanent=settings.policy.banned == "permanent",
            restrict=watcher.restrict,
            next_hop=forwarder,
            budget=self._row,
            statistics=self._row,
            authentication_results=make_authentication_results(settings, panel),
            offload=offload,
            signing=self._signing(clock),
            sealing=self._sealing(tools),
            feedback=counting,
            hygiene=hygiene_by_way(settings, self._blueprint.pseudonym_key),
        )
        # What was made before the fork stays for good: the collector need not look at it again. It
        # must not look even once: that writes to each object, and 13 MiB would no longer be shared.
        gc.freeze()
        # Nothing of a connection is a circle, so the collector finds little. A full round over ten
        # thousand connections would hold the loop up for 0.15 s, so there is one hardly ever.
        gc.set_threshold(1_000, 10, 1_000)
        await forwarder.start()
        await watcher.start()
        await self._open()
        background = [
            asyncio.create_task(_keep_at(work))
            for work in (
                partial(self._obey, reader, audit),
                partial(_report_next_hops, forwarder, self._row),
                self._keep_trusted,
                watcher.run,
                outbox.run,
                *([partial(self._hand_over, counting)] if counting is not None else ()),
            )
        ]
        await self._stopped.wait()
        for task in background:
            task.cancel()
        await outbox.flush()
        await forwarder.close()
        await resolver.close()
        await store.close()
        await audit.close()

    async def _open(self) -> None:
        for listener in self._settings.listener:
            for listening in self._sockets[listener.name]:
                self._servers.append(
                    await serve(
                        listening,
                        lambda stream, listener=listener: self._accept(stream, listener),  # type: ignore[misc]
                    )
                )
        self._tell({"event": "ready"})

    def _signing(self, clock: Clock) -> Signing | None:
        """What signs; None without a key that does."""
        keyring = self._blueprint.material.keyring
        return Signing(keyring, clock) if keyring.signs else None

    def _sealing(self, tools: Tools) -> Sealing | None:
        """What seals; None without a key that does."""
        settings, key = self._settings, self._blueprint.material.keyring.seal
        if key is None:
            return None
        name = settings.authentication_results.authserv_id or settings.hostname
        return Sealing(key, name, tools, settings.checks.timeout.total_seconds())

    async def _hand_over(self, counting: Counting) -> None:
        """Have what was counted for reports kept, every now and then."""
        try:
            while True:
                await asyncio.sleep(_COUNT_SECONDS)
                self._tell_counted(counting)
        finally:
            self._tell_counted(counting)

    def _tell_counted(self, counting: Counting) -> None:
        if counted := counting.take():
            self._tell({"event": "counted", "counted": counted})

    # --- sessions ---------------------------------------------------------------------------

    def _accept(self, stream: TcpStream, listener: Listener) -> None:
        task = asyncio.create_task(self._speak(stream, listener))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _speak(self, stream: TcpStream, listener: Listener) -> None:
        try:
            networks = listener.proxy_protocol_from
            if networks:
                stream.set_deadline(self._settings.timeouts.handshake)
                await read_proxy_header(stream, networks)
        except StreamError as error:
            log.info("proxy header refused", peer=str(stream.peer), reason=str(error))
            stream.abort()
            return
        address = stream.peer.address
        if self._is_full(address, listener):
            self._row.count("refused")
            self._row.count_by("refusals", "too_many_connections")
            if listener.tls == "starttls":
                stream.send(str(failures.TOO_MANY_CONNECTIONS).encode() + b"\r\n")
            await stream.close()
            return
        self._row.connection_opened(address)
        session = Session(
            stream, listener, self._blueprint.server_tls[listener.name], self._services
        )
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._row.connection_closed(address)

    def _is_full(self, address: str, listener: Listener) -> bool:
        row, limit = self._row, listener.max_connections_per_address
        return row.open_connections() >= self._settings.limits.max_connections or (
            limit > 0 and row.connections_from(address) >= limit
        )

    async def _keep_trusted(self) -> None:
        """End live sessions of whom the trust decision in force no longer trusts."""
        version = self._trust.version
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if version != (version := self._trust.version):
                await self._reconsider()

    async def _reconsider(self) -> None:
        """Have every session ask again who its peer is, with pauses for the others' sake."""
        now = asyncio.get_running_loop().time
        pause_at = now() + _SLICE_SECONDS
        for session in tuple(self._sessions):
            try:
                session.reconsider()
            except Exception:  # the others must be looked at all the same; MAIL will ask again
                log.exception("session not looked at", session=session.reference)
            if now() >= pause_at:
                await asyncio.sleep(0)
                pause_at = now() + _SLICE_SECONDS

    # --- orders from the supervisor -------------------------------------------------------

    async def _obey(self, reader: asyncio.StreamReader, audit: AuditLog) -> None:
        """Obey the supervisor; without one, or unable to, drain: nobody serves on without orders."""
        try:
            await self._obey_each(reader, audit)
        except ConnectionError:
            pass  # it was killed, and had not read all of what we told
        except Exception:
            log.exception("order not obeyed")
        await self._drain()

    async def _obey_each(self, reader: asyncio.StreamReader, audit: AuditLog) -> None:
        """Read its orders, a JSON line each, up to the last."""
        while line := await reader.readline():
            order = json.loads(line)
            match order["order"]:
                case "retire":
                    asyncio.create_task(self._retire())  # noqa: RUF006  ends with the process
                case "drain":
                    return
                case "reopen":
                    audit.reopen()
                case "intermediate":
                    self._learn(order["certificate"])
                case "revocation":
                    self._trust.replace_crls(await asyncio.to_thread(self._crls.read))
                case "anchors":
                    self._trust.replace_anchors(
                        await asyncio.to_thread(_read_anchors, order["anchors"])
                    )
                case "ocsp" | "staple":
                    self._learn_of_revocation(order)
                case "policies":
                    await self._take_over_policies(order)
                case "allowlist":
                    # The supervisor has checked it; a thread keeps the loop free.
                    self._trust.replace(
                        await asyncio.to_thread(parse_allowlist, order["text"], order["path"])
                    )

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

    async def _retire(self) -> None:
        """Stop accepting, let every session go on to its own end, then stop."""
        await self._close_servers()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._stopped.set()

    async def _drain(self) -> None:
        """Stop accepting, end idle sessions, give transactions in flight `timeouts.drain`."""
        await self._close_servers()
        for session in tuple(self._sessions):
            session.drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.timeouts.drain.total_seconds())
        self._stopped.set()

    async def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _tell_of(self, certificate: Certificate) -> None:
        """Have the other workers learn of a CA certificate (base64 of its DER)."""
        text = base64.b64encode(certificate.der).decode()
        self._tell({"event": "intermediate", "certificate": text})

    def _restrictions_changed(self) -> None:
        self._trust.restrictions_changed()

    def _want(self, urls: Sequence[str], delta_urls: Sequence[str], issuer: Certificate) -> None:
        """Have the revocation lists of a CA fetched from where a certificate of it says."""
        text = base64.b64encode(issuer.der).decode()
        self._tell({"event": "want", "urls": urls, "delta_urls": delta_urls, "issuer": text})

    def _ocsp_view(self) -> OcspView | None:
        """What is known from OCSP responders; None where none is to be asked."""
        settings = self._settings.revocation
        if not settings.fetch or "ocsp" not in settings.sources:
            return None
        return OcspView(OcspUrls(self._authorities()), settings.ocsp_timeout, self._ask)

    def _authorities(self) -> Iterator[tuple[Sequence[Certificate], RevocationAuthority]]:
        """The CAs of `[[revocation.authority]]` and what is said of them."""
        return ((each.certificates, each.settings) for each in self._blueprint.material.authorities)

    def _ask(self, key: str, certificate: Certificate, issuer: Certificate) -> None:
        """Have OCSP responders asked about a certificate."""
        asked = {
            name: base64.b64encode(each.der).decode()
            for name, each in (("certificate", certificate), ("issuer", issuer))
        }
        self._tell({"event": "ask", "key": key, **asked})

    def _learn_of_revocation(self, order: Mapping[str, Any]) -> None:
        """Take what OCSP responders have said of clients, or of a certificate of our own."""
        if order["order"] == "ocsp":
            self._trust.learn(map(News.of, order["news"]))
            return
        response = base64.b64decode(order["response"])
        for tls in self._blueprint.server_tls.values():
            tls.staple(order["certificate"], response, order["until"])

    def _learn(self, certificate: str) -> None:
        self._trust.intermediates.add(Certificate(base64.b64decode(certificate)))

    def _tell(self, message: dict[str, object]) -> None:
        """Tell the supervisor; what it does not read yet waits here, whole."""
        if self._writer.transport.get_write_buffer_size() < _MAX_UNHEARD_BYTES:
            self._writer.write(json.dumps(message).encode() + b"\n")


def _own_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """This machine's addresses; where it does not say, those of listeners must do."""
    try:
        return own_addresses()
    except OSError as error:
        log.warning("this machine's addresses are not known", reason=error.strerror)
        return frozenset()


def _read_anchors(told: Mapping[str, Sequence[str]]) -> dict[str, Anchors]:
    """Read anchors by listener, each certificate as base64 of its DER."""
    return {
        name: Anchors(Certificate(base64.b64decode(each)) for each in texts)
        for name, texts in told.items()
    }


async def _keep_at(work: Callable[[], Awaitable[None]]) -> None:
    """Do work that must not end silently: what fails unexpectedly begins again after a pause."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("background work failed, and begins again")
        await asyncio.sleep(_AGAIN_SECONDS)


async def _report_next_hops(forwarder: Forwarder, row: Row) -> None:
    """Log and count when a next hop fails, and when it is back: the inside logs nothing."""
    problems: dict[tuple[str, str], str] = {}
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        for status in forwarder.status():
            key = (status.route, str(status.host))
            before = problems.get(key, "")
            problems[key] = status.problem
            row.tell("next_hops_failing", *key, value=bool(status.problem))
            if status.problem and not before:
                log.warning("next hop fails", route=key[0], next_hop=key[1], problem=status.problem)
            elif before and not status.problem:
                log.info("next hop is back", route=key[0], next_hop=key[1])
