"""What clients do for good and ill, and whom it is charged to: the ledger that reputation is made of.

A client with an identity answers for itself, wherever it comes from: its address may be a proxy's. Who
has none is known by its network and by the fingerprint of its TLS, and the domain it writes for answers
only where SPF says that it is so: nobody can spoil another's name. Own and exempt addresses earn nothing.
Nothing here waits: what is noted goes to the store later (`ports.Outbox`), but for the question what a
client's TLS was at its best, which is asked once. Knows no rule. RFC 7507: FALLBACK_SCSV.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.errors import Unavailable
from relay.model import Endpoint, Score, TrustStatus
from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.model import TlsFacts
    from relay.policy.case import Case
    from relay.policy.limits import Count
    from relay.ports import Clock, Outbox, Store
    from relay.tls.clienthello import ClientHello

__all__ = [
    "DOWNGRADES",
    "VIOLATIONS",
    "BestTls",
    "Event",
    "Ledger",
    "Subject",
    "SubjectKind",
    "credit_of",
    "debit_of",
    "network_of",
    "score_of",
    "subject_of",
]


class Event(StrEnum):
    """What is noted; a key of `[checks.reputation.weights]` each."""

    PLAINTEXT = "plaintext"
    OLD_VERSION = "old_version"
    FALLBACK = "fallback"
    WEAKER = "weaker"
    BAD_CERTIFICATE = "bad_certificate"
    EARLY_TALK = "early_talk"
    SMUGGLING = "smuggling"
    LISTED = "listed"
    BREACH = "breach"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    DELIVERED = "delivered"


DOWNGRADES: Final = frozenset({Event.PLAINTEXT, Event.OLD_VERSION, Event.FALLBACK, Event.WEAKER})
"""Less protection than there could be: each is on record as such."""

VIOLATIONS: Final[Mapping[str, Event]] = {
    "plaintext": Event.PLAINTEXT,
    "early_talker": Event.EARLY_TALK,
    "bare_newline": Event.SMUGGLING,
    "starttls_injection": Event.SMUGGLING,
}
"""Violations of the protocol (`smtp.events.Violation`) that are noted."""

_BEST: Final = 100.0

_HONEST: Final = frozenset(
    {TrustStatus.ABSENT, TrustStatus.SUSPENDED, TrustStatus.REVOCATION_UNKNOWN}
)
"""Refusals that say nothing against the certificate that was shown."""


class SubjectKind(StrEnum):
    """Whom something is charged to; a key of `[checks.reputation.half_life]` each."""

    NETWORK = "network"
    JA4 = "ja4"
    IDENTITY = "identity"
    SENDER = "sender"


class Subject(NamedTuple):
    """One whom something is charged to."""

    kind: SubjectKind
    name: str


def credit_of(subject: Subject) -> str:
    """The name of the sum of what speaks for somebody."""
    return f"credit/{subject.kind}/{subject.name}"


def debit_of(subject: Subject) -> str:
    """The name of the sum of what speaks against somebody."""
    return f"debit/{subject.kind}/{subject.name}"


def score_of(credit: float, debit: float) -> float:
    """The score of somebody, from -100.0 to 100.0: what speaks for one, at most 100, less what speaks against one."""
    return round(max(min(credit, _BEST) - debit, -_BEST), 1)


def subject_of(kind: SubjectKind, case: Case) -> str:
    """Who of a kind the case is about; "" for nobody."""
    return _NAMES[kind](case)


def network_of(peer: Endpoint) -> str:
    """The network that answers for an address, as `peer.network`; "" for a Unix socket."""
    return _network_of(peer.address)


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    found = Endpoint(address, 0).ip
    if found is None:
        return ""
    return str(ip_network((found, 24 if found.version == 4 else 64), strict=False))


def _ja4(case: Case) -> str:
    return case.tls.hello.ja4 if case.tls and case.tls.hello else ""


def _sender(case: Case) -> str:
    address = case.sender.address if case.sender else None
    return canonical_domain(address.domain) if address else ""


_IDENTITY: Final = SubjectKind.IDENTITY  # for each message; Python 3.11 is slow to find members
_SENDER: Final = SubjectKind.SENDER

_NAMES: Final[Mapping[SubjectKind, Callable[[Case], str]]] = {
    SubjectKind.NETWORK: lambda case: network_of(case.peer),
    SubjectKind.JA4: _ja4,
    SubjectKind.IDENTITY: lambda case: case.identity.name if case.identity else "",
    SubjectKind.SENDER: _sender,
}


class Ledger:
    """Notes what clients do.

    Args:
        weights: what each event counts, below 0 against a client.
        half_lives: after how many seconds an addition counts half, by kind of subject.
        is_exempt: who is never held responsible.
        outbox: takes what is noted to the store.
        best: what TLS clients have shown before.
    """

    def __init__(
        self,
        weights: Mapping[Event, float],
        half_lives: Mapping[SubjectKind, float],
        is_exempt: Callable[[Endpoint], bool],
        outbox: Outbox,
        best: BestTls,
    ) -> None:
        self._weights = weights
        self._half_lives = half_lives
        self._is_exempt = is_exempt
        self._outbox = outbox
        self._best = best

    def note(self, event: Event, case: Case) -> None:
        """Charge an event to whom it concerns."""
        weight = self._weights[event]
        if not weight:
            return
        for kind, name in self._responsible(case):
            self._outbox.add_score(_score(kind, name, weight, self._half_lives[kind]))

    def count(self, count: Count, case: Case) -> None:
        """Charge the limits on what is counted when it happens, as far as they were asked for."""
        for counted, charge in case.noted.values():
            if counted is count:
                self._outbox.charge(charge)

    async def handshake(self, case: Case) -> tuple[Event, ...]:
        """Note what a handshake says of a client; return the downgrades in it."""
        tls, decision = case.tls, case.decision
        assert tls is not None
        found = _in_offer(tls.hello)
        who = case.identity.name if case.identity else network_of(case.peer)
        if who and await self._best.is_weaker(who, tls):
            found.append(Event.WEAKER)
        for event in found:
            self.note(event, case)
        if decision is not None and not decision.is_trusted and decision.status not in _HONEST:
            self.note(Event.BAD_CERTIFICATE, case)
        return tuple(found)

    def failed_handshake(self, hello: ClientHello | None, case: Case) -> tuple[Event, ...]:
        """The same for a handshake that came to nothing."""
        found = _in_offer(hello)
        for event in found:
            self.note(event, case)
        return tuple(found)

    def _responsible(self, case: Case) -> list[tuple[SubjectKind, str]]:
        identity = case.identity
        if identity is not None:
            found = [(_IDENTITY, identity.name)]
        elif not case.peer.is_local and not self._is_exempt(case.peer):
            found = [(SubjectKind.NETWORK, network_of(case.peer))]
            if ja4 := _ja4(case):
                found.append((SubjectKind.JA4, ja4))
        else:
            return []
        if (identity or case.facts.get("spf.result") == "pass") and (sender := _sender(case)):
            found.append((_SENDER, sender))
        return found


@lru_cache(maxsize=4096)  # who sends much is noted with each message
def _score(kind: SubjectKind, name: str, weight: float, half_life: float) -> Score:
    subject = Subject(kind, name)
    name_of_sum = credit_of(subject) if weight > 0 else debit_of(subject)
    return Score(name_of_sum, abs(weight), half_life)


_OLD: Final = frozenset({"TLSv1.1", "TLSv1.0", "SSLv3", "SSLv2"})


def _in_offer(hello: ClientHello | None) -> list[Event]:
    found: list[Event] = []
    if hello is not None and hello.best_version in _OLD:
        found.append(Event.OLD_VERSION)
    if hello is not None and hello.fallback_scsv:
        found.append(Event.FALLBACK)
    return found


# --- the best a client has shown -----------------------------------------------------------------

_REMEMBERED_SECONDS: Final = 90 * 86_400.0
_PAUSE_SECONDS: Final = 30.0
_MAX_KNOWN: Final = 10_000
_TLS_1_3: Final = 2
_POST_QUANTUM: Final = 1


class BestTls:
    """What each client's TLS was at its best: in the store, and as far as it was met here, in memory."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._known: dict[str, int] = {}
        self._paused_until = 0.0

    async def is_weaker(self, who: str, tls: TlsFacts) -> bool:
        """Whether a client has done better before; if it does better now, that is kept."""
        rank = (_TLS_1_3 if tls.version == "TLSv1.3" else 0) + ("MLKEM" in tls.group.upper())
        best = self._known.get(who)
        if best is None:
            best = await self._look_up(who)
        if rank > best:
            self._keep(who, rank)
        # The group of a resumed session is not always known: then only versions are compared.
        return rank < (best if tls.group else best & ~_POST_QUANTUM)

    async def _look_up(self, who: str) -> int:
        clock = self._clock
        if clock.monotonic() < self._paused_until:
            return 0
        try:
            found = await self._store.get(f"tls/{who}", clock.now().timestamp())
        except Unavailable:
            self._paused_until = clock.monotonic() + _PAUSE_SECONDS
            return 0
        best = int(found) if found else 0
        self._remember(who, best)
        return best

    def _keep(self, who: str, rank: int) -> None:
        self._remember(who, rank)
        until = self._clock.now().timestamp() + _REMEMBERED_SECONDS
        self._outbox.put(f"tls/{who}", str(rank).encode(), until)

    def _remember(self, who: str, rank: int) -> None:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[who] = rank
