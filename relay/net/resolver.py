"""DNS for a worker: answers out of memory, else of the name servers, in bounded time.

Theory: a question that is in nobody's memory becomes one task, however many wait for it, and runs to
its end even if they all go: the next one finds its answer. It asks the servers in turn, the ones that
have just failed last, by datagram first. A truncated answer is asked for again by a connection, and so is one
that was not ours to the letter (a forger's, or a server's that does not copy the question). What can't be
found out is remembered for seconds (RFC 9520), so that a dead zone costs its wait once and not for each
message. Decides nothing about mail. RFC 1035, RFC 2308, RFC 5452, RFC 6891.
"""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.errors import Unavailable
from relay.model import DnsAnswer
from relay.net.dns_cache import AnswerCache, Failure
from relay.net.dns_message import NoSuchName, Question, Reading, read_answer
from relay.net.dns_transport import (
    LookAlike,
    NameServerConnection,
    Truncated,
    ask_by_datagram,
)
from relay.net.name_servers import find_name_servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.net.dns_cache import Key
    from relay.net.name_servers import NameServer
    from relay.settings.dns import Dns

__all__ = ["DnsResolver", "ResolverCounts", "open_resolver"]

_ABSENT: Final = DnsAnswer(exists=False)
_SHUN_SECONDS: Final = 10.0
_LONG_ANSWER_BYTES: Final = 2048  # dnspython reads 40 kB in a tenth of a second: not on the loop
_READERS: Final = 2  # threads that read such answers
_NO_EDNS: Final = frozenset({"FORMERR", "NOTIMP", "BADVERS"})  # RFC 6891 7


@dataclass(slots=True)
class ResolverCounts:
    """What a resolver has done since it started."""

    asked: int = 0
    cached: int = 0
    joined: int = 0  # waited for somebody else's question
    sent: int = 0  # messages to name servers
    connections: int = 0  # of them by TCP or TLS
    look_alikes: int = 0  # questions that only answers with other letters came to
    failed: int = 0  # questions that got no answer


class _Outcome(NamedTuple):
    """What became of a question, and how many seconds it is kept."""

    outcome: DnsAnswer | Failure
    ttl: float


class DnsResolver:
    """Implements `ports.Resolver`; one in each worker.

    Args:
        settings: `[dns]`.
        servers: whom to ask, in this order.
        tls: how servers over TLS are verified; the system's CAs if None.
    """

    def __init__(
        self, settings: Dns, servers: Sequence[NameServer], tls: ssl.SSLContext | None = None
    ) -> None:
        self.counts = ResolverCounts()
        self._settings = settings
        self._servers = tuple(servers)
        self._timeout = settings.timeout.total_seconds()
        self._cache = AnswerCache(settings.cache_bytes)
        self._pending: dict[Key, asyncio.Task[DnsAnswer | Failure]] = {}
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._connections = _connections(self._servers, tls)
        self._shunned: dict[NameServer, float] = {}
        # Not the threads of all: whoever sends archives that take long to look into would delay DNS.
        self._readers = ThreadPoolExecutor(_READERS, "dns")

    async def resolve(self, name: str, kind: str) -> DnsAnswer:
        """Return the records of a name; see `ports.Resolver`."""
        counts = self.counts
        counts.asked += 1
        key = (name.lower().removesuffix("."), kind)
        loop = asyncio.get_running_loop()
        outcome = self._cache.get(key, loop.time())
        if outcome is not None:
            counts.cached += 1
        else:
            task = self._pending.get(key)
            if task is None:
                task = self._pending[key] = loop.create_task(self._find_out(key))
            else:
                counts.joined += 1
            outcome = await asyncio.shield(task)
        if isinstance(outcome, Failure):
            raise Unavailable(f"DNS: {key[0]} {kind}: {outcome.reason}")
        return outcome

    async def close(self) -> None:
        """Let go of connections and of what is under way."""
        tasks = tuple(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _find_out(self, key: Key) -> DnsAnswer | Failure:
        try:
            outcome, ttl = await self._ask_within_bounds(key)
            if ttl > 0:
                self._cache.put(key, outcome, asyncio.get_running_loop().time() + ttl)
            return outcome
        finally:
            del self._pending[key]

    async def _ask_within_bounds(self, key: Key) -> _Outcome:
        """Ask as soon as not too many others are under way, in the time for all attempts."""
        is_waiting = True
        try:
            async with asyncio.timeout(self._timeout * self._settings.attempts), self._slots:
                is_waiting = False
                return await self._ask_in_turn(*key)
        except TimeoutError:
            self.counts.failed += 1
            if is_waiting:
                return _Outcome(Failure("too many questions under way"), 0)
            return self._failure(["no answer in time"])
        except NoSuchName:
            return _Outcome(_ABSENT, self._settings.negative_ttl.total_seconds())

    async def _ask_in_turn(self, name: str, kind: str) -> _Outcome:
        """Ask server after server; who has answered that it can't tell is not asked again."""
        reasons: dict[NameServer, str] = {}
        hopeless: set[NameServer] = set()
        without_edns: set[NameServer] = set()
        by_connection = False
        for server in self._in_turn(hopeless):
            question = Question.about(
                name, kind, edns=server not in without_edns, ad=self._settings.trust_ad
            )
            try:
                wire = await self._ask(server, question, by_connection=by_connection)
                reading = await self._read(wire, kind, server)
            except LookAlike:
                self.counts.look_alikes += 1
                reasons[server] = "only answers to other letters"
                by_connection = True
                continue
            except (Unavailable, TimeoutError) as error:
                reasons[server] = str(error) or "no answer in time"
                self._shunned[server] = asyncio.get_running_loop().time() + _SHUN_SECONDS
                continue
            self._shunned.pop(server, None)
            if not reading.failure:
                return self._kept(reading)
            reasons[server] = reading.failure
            if reading.failure in _NO_EDNS and server not in without_edns:
                without_edns.add(server)
            else:
                hopeless.add(server)
        self.counts.failed += 1
        return self._failure([f"{reason} ({server})" for server, reason in reasons.items()])

    def _in_turn(self, hopeless: set[NameServer]) -> Iterator[NameServer]:
        """Yield whom to ask next, as often as `attempts` allows."""
        now = asyncio.get_running_loop().time()
        order = sorted(self._servers, key=lambda server: self._shunned.get(server, 0.0) > now)
        for attempt in range(self._settings.attempts):
            promising = [server for server in order if server not in hopeless]
            if not promising:
                return
            yield promising[attempt % len(promising)]

    async def _ask(self, server: NameServer, question: Question, *, by_connection: bool) -> bytes:
        if not (by_connection or server.tls_name):
            self.counts.sent += 1
            try:
                return await ask_by_datagram(server, question, self._timeout)
            except Truncated:
                pass
        self.counts.sent += 1
        self.counts.connections += 1
        async with asyncio.timeout(self._timeout):
            return await self._connections[server].ask(question)

    async def _read(self, wire: bytes, kind: str, server: NameServer) -> Reading:
        trust_ad = self._settings.trust_ad and server.is_out_of_reach
        if len(wire) <= _LONG_ANSWER_BYTES:
            return read_answer(wire, kind, trust_ad=trust_ad)
        read = partial(read_answer, wire, kind, trust_ad=trust_ad)
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    def _kept(self, reading: Reading) -> _Outcome:
        answer, ttl, _ = reading
        settings = self._settings
        if ttl is None:  # a "no" without a SOA record
            return _Outcome(answer, settings.min_ttl.total_seconds())
        most = settings.max_ttl if answer.records else settings.negative_ttl
        return _Outcome(
            answer, min(max(ttl, settings.min_ttl.total_seconds()), most.total_seconds())
        )

    def _failure(self, reasons: list[str]) -> _Outcome:
        return _Outcome(Failure("; ".join(reasons)), self._settings.failure_ttl.total_seconds())


def open_resolver(settings: Dns) -> DnsResolver:
    """Make the resolver that `[dns]` describes; reads /etc/resolv.conf if it names no servers."""
    return DnsResolver(settings, find_name_servers(settings.servers))


def _connections(
    servers: Sequence[NameServer], tls: ssl.SSLContext | None
) -> dict[NameServer, NameServerConnection]:
    if tls is None and any(server.tls_name for server in servers):
        tls = ssl.create_default_context()
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return {
        server: NameServerConnection(server, tls if server.tls_name else None) for server in servers
    }
