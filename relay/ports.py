"""What the inside needs of the world: Protocols, implemented outside, joined by `app.py`.

No implementation stands here. A method that waits is `async`; durations are `timedelta`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from relay.model import (
        Address,
        Charge,
        Delivery,
        DnsAnswer,
        Endpoint,
        Envelope,
        Identity,
        Octets,
        Restriction,
        RestrictionKind,
        Score,
        TlsFacts,
        TrustDecision,
    )
    from relay.outbound.routes import Route
    from relay.policy.case import Case
    from relay.policy.engine import Engine
    from relay.policy.facts import Facts
    from relay.smtp.extensions import Extensions
    from relay.smtp.replies import Reply

__all__ = [
    "AuditSink",
    "Budget",
    "ClientTls",
    "Clock",
    "Dialer",
    "Feedback",
    "NextHop",
    "Outbox",
    "Policies",
    "Resolver",
    "ServerTls",
    "Statistics",
    "Store",
    "Stream",
    "Trust",
]


class ServerTls(Protocol):
    """Opaque to the inside: what a listener hands to `Stream.start_tls_server`."""


class ClientTls(Protocol):
    """Opaque to the inside: what a route hands to `Dialer`."""


class Stream(Protocol):
    """Bytes both ways, plain first, TLS after an upgrade. All deadlines are absolute per phase."""

    peer: Endpoint
    local: Endpoint
    tls: TlsFacts | None

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at an orderly end of stream.

        Raises:
            DeadlinePassed: the deadline set by `set_deadline` has come.
            ConnectionLost: reset, or TLS cut off without close_notify (RFC 8446 6.1).
        """
        ...

    def send(self, *chunks: bytes) -> None:
        """Queue bytes and write what the socket takes; never waits, never raises."""
        ...

    async def drain(self) -> None:
        """Wait until the send buffer is low again. Raises as `receive`."""
        ...

    def set_deadline(self, after: timedelta | None) -> None:
        """From now, `receive`, `drain` and the handshake fail once `after` has passed; None lifts it."""
        ...

    async def start_tls_server(self, tls: ServerTls) -> TlsFacts:
        """Do the server's side of a TLS handshake. Raises HandshakeFailed or as `receive`."""
        ...

    async def start_tls_client(self, tls: ClientTls, server_name: str) -> TlsFacts:
        """Do the client's side of a TLS handshake. Raises HandshakeFailed or as `receive`."""
        ...

    async def close(self, last_words: bytes = b"") -> None:
        """Flush, send the last words and close_notify under TLS; bounded in time; never raises."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    @property
    def is_closing(self) -> bool:
        """Whether the stream is closed, closing, or at its end: nothing can be asked of it."""
        ...

    @property
    def has_unread(self) -> bool:
        """Whether `receive` would return bytes at once; under TLS application bytes only.

        What a next hop says without having been asked must never count as its answer to what
        we ask afterwards, so the client side looks here before it writes.
        """
        ...


class Dialer(Protocol):
    """Opens streams to next hops."""

    async def connect(self, host: str, port: int, timeout: timedelta) -> Stream:
        """Open a TCP connection. Raises Unavailable, with the reason for the log."""
        ...


class Clock(Protocol):
    """Time and chance, so that tests own both."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def reference(self) -> str:
        """A new reference id: 12 characters of [0-9A-Z] without look-alikes, unguessable."""
        ...


class AuditSink(Protocol):
    """Where evidence goes, before the reply that it is about."""

    def record(self, kind: str, fields: Mapping[str, object]) -> None:
        """Append one record; the sink adds time and node. Raises Unavailable if it can't be kept."""
        ...

    async def flushed(self) -> None:
        """Wait until what was recorded is as safe as `[audit] sync` asks."""
        ...

    def fault(self, message: str, error: BaseException) -> str:
        """Log an unexpected exception with its traceback; return the log id for the reply."""
        ...


class Budget(Protocol):
    """The memory that message bodies in flight may take, shared by all workers of the host."""

    def take(self, size_bytes: int) -> bool:
        """Claim memory; False if the budget is spent (then nothing was claimed)."""
        ...

    def give(self, size_bytes: int) -> None:
        """Return what was taken."""
        ...


class Feedback(Protocol):
    """What domains are told of the mail that bears their name."""

    def note(self, case: Case, facts: Facts, *, refused: bool) -> None:
        """Take a message into account that the rules have judged."""
        ...


class Statistics(Protocol):
    """Counters that `gatepost status` and the metrics show."""

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of `net.tally.COUNTERS`."""
        ...

    def count_by(self, *key: str) -> None:
        """Add one to a counter of `net.label_table.LABELLED`: its name, then its labels."""
        ...

    def delivery_took(self, seconds: float) -> None:
        """Count how long a next hop took for a message."""
        ...


class NextHop(Protocol):
    """The way out: implemented by `outbound.forwarder.Forwarder`."""

    def route_for(self, recipient: Address, *, identified: bool) -> Route | None:
        """The route of a recipient; None: we do not relay there. Pure.

        Without an identity the default route ("*") does not count: never an open relay.
        """
        ...

    def extensions(self) -> Extensions:
        """What every next hop offers, as far as known: what we may offer to clients."""
        ...

    async def verify(
        self, route: Route, envelope: Envelope, recipient: Address, client: Mapping[str, str]
    ) -> Reply:
        """Ask the next hop whether it takes this recipient from this sender (cached, coalesced)."""
        ...

    async def deliver(
        self, route: Route, envelope: Envelope, chunks: Sequence[Octets], client: Mapping[str, str]
    ) -> Delivery:
        """Hand one message over. Never raises for the next hop's failures: they are 4xx replies.

        `chunks` joined are the message: CRLF line ends, not dot-stuffed. `client` holds what
        XCLIENT and XFORWARD may tell: NAME ADDR PORT PROTO HELO LOGIN IDENT.
        """
        ...


class Trust(Protocol):
    """The live trust decision: allowlist, anchors and clock joined with `pki.trust.decide`."""

    @property
    def version(self) -> int:
        """Changes whenever a decision might: who holds one from an older version asks again."""
        ...

    def decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        """Decide on what a peer has presented at a listener, now."""
        ...

    async def answered(self, questions: Sequence[str]) -> None:
        """Wait until the `questions` of a decision are answered, or will not be in time."""
        ...


class Policies(Protocol):
    """The rules in force."""

    def engine(self, listener: str, identity: Identity | None) -> Engine:
        """Return the rules for a listener's clients; those of an identity may have more."""
        ...


class Resolver(Protocol):
    """DNS: asked by name and type, answered from a cache where it can be."""

    async def resolve(self, name: str, kind: str) -> DnsAnswer:
        """Return the records of `name` of type `kind` ("A", "AAAA", "MX", "TXT", "PTR", "TLSA"...).

        A name that is not there, or has no such record, is an answer without records.

        Raises:
            Unavailable: no answer in time, SERVFAIL, or one that can't be read: ask again later.
        """
        ...


class Outbox(Protocol):
    """What may reach the store later: takes it at once and never raises."""

    def add_score(self, score: Score) -> None:
        """Have something added to a decaying sum."""
        ...

    def charge(self, charge: Charge) -> None:
        """Have a limit charged, as far as there is room in it."""
        ...

    def put(self, key: str, value: bytes, until: float) -> None:
        """Have a value kept until a moment."""
        ...


class Store(Protocol):
    """What all workers of a host, or all nodes of a fleet, remember together.

    Moments are seconds since 1970; clocks of a fleet are held to agree within seconds. Every method
    raises Unavailable where the store can't be reached in time, and waits no longer than `[state]
    timeout`, `changed` excepted.
    """

    async def spend(self, charges: Sequence[Charge], now: float) -> Sequence[float]:
        """Charge rate limits (GCRA, `policy/gcra.py`): all of them, or none if one has no room.

        A key stands for one limit: two windows of the same thing are two keys.

        Returns:
            For each charge the seconds until it would be admitted; 0 where there is room, infinity
            where it is larger than its limit. Only if all are 0 anything was charged. A charge of
            cost 0 asks whether there is room for 1 and takes nothing.
        """
        ...

    async def add_scores(self, scores: Sequence[Score], now: float) -> None:
        """Add to decaying sums (`policy/decay.py`)."""
        ...

    async def scores(self, subjects: Sequence[str], now: float) -> Sequence[float]:
        """Return the decayed sum of each subject; 0 for one that nothing is known of."""
        ...

    async def restrict(self, *restrictions: Restriction) -> None:
        """Put bans, suspensions, revocations in force everywhere; each replaces one of its kind and subject."""
        ...

    async def lift(self, kind: RestrictionKind, subject: str) -> bool:
        """Take one back; return whether there was one in force."""
        ...

    async def restrictions(self) -> Sequence[Restriction]:
        """Return all that are in force or still remembered (`Restriction.remembered_until`).

        What was taken back is among them (`Restriction.lifted`): so what is missing was lost, and
        who knows of it puts it back.
        """
        ...

    async def version(self) -> int:
        """Return a number that changes with every change of the restrictions; cheap to ask."""
        ...

    async def changed(self, known: int, timeout: timedelta) -> int:
        """Wait until the version is another one than `known`, or `timeout` has passed; return it.

        Returns within 0.2 s of a change on the same host, within a second of one in the fleet.
        """
        ...

    async def get(self, key: str, now: float) -> bytes | None:
        """Return what was put under a key; None if nothing, or it has expired."""
        ...

    async def put(self, key: str, value: bytes, until: float) -> None:
        """Keep a value until a moment."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
