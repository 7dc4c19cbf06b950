"""Fakes of what a session needs of the world: each remembers what it was asked, and can be told to fail.

No I/O. The engine, the rules and the session under test are the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from relay import catalogue
from relay.inbound.authentication_results import AuthenticationResults
from relay.inbound.services import Services
from relay.live_policy import make_ledger, offload
from relay.model import Delivery, TrustDecision, TrustStatus
from relay.policy.check import Tools
from relay.policy.consequences import Consequences
from relay.settings.limits import Limits, Timeouts
from relay.settings.listener import Listener
from relay.settings.table import CertificateFiles
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.state.memory import MemoryStore
from relay.state.outbox import Outbox
from relay.state.watching import Watcher
from tests.kit.policy import FakePolicies, panel
from tests.kit.zones import FakeResolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from relay.inbound.judging import Panel
    from relay.model import Address, Envelope, Octets, TlsFacts
    from relay.outbound.routes import Route

__all__ = ["FakeClock", "FakeNextHop", "FakeTrust", "RecordingAudit", "World", "listener"]

UP = Extensions(
    size_bytes=0, eightbitmime=True, smtputf8=True, dsn=True, chunking=True, pipelining=True
)
QUEUED = Reply(250, "2.0.0", ("Ok: queued as 12345",))


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self.seconds = 1000.0
        self._references: Iterator[int] = count(1)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, by: timedelta) -> None:
        self.time += by
        self.seconds += by.total_seconds()

    def reference(self) -> str:
        return f"REF{next(self._references):09d}"


class RecordingAudit:
    """Keeps records in memory; `failure` is raised instead, if set."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, object]]] = []
        self.faults: list[BaseException] = []
        self.failure: Exception | None = None

    def record(self, kind: str, fields: Mapping[str, object]) -> None:
        if self.failure is not None:
            raise self.failure
        self.records.append((kind, dict(fields)))

    async def flushed(self) -> None:
        return

    def fault(self, message: str, error: BaseException) -> str:
        self.faults.append(error)
        return "LOG1"

    def of(self, kind: str) -> list[dict[str, object]]:
        return [fields for found, fields in self.records if found == kind]


class FakeTrust:
    """Gives the decision it was told to."""

    def __init__(self) -> None:
        self.version = 1
        self.decision = TrustDecision(TrustStatus.ABSENT, None, "no certificate")
        self.questions: list[tuple[str, ...]] = []
        self.answer: TrustDecision | None = None

    def decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        return self.decision

    async def answered(self, questions: Sequence[str]) -> None:
        """Be answered: the decision from now on is `answer`."""
        self.questions.append(tuple(questions))
        if self.answer is not None:
            self.decision = self.answer


class FakeRoute:
    """A next hop by name."""

    def __init__(self, name: str) -> None:
        self.name = name


class FakeNextHop:
    """Takes everything, unless told otherwise; `delivered` holds what it has taken."""

    def __init__(self) -> None:
        self.routes: dict[str, FakeRoute] = {"example.org": FakeRoute("example.org")}
        self.default: FakeRoute | None = FakeRoute("*")
        self.offered = UP
        self.refused_recipients: dict[str, Reply] = {}
        self.outcome: Delivery | Exception = Delivery(accepted=True, reply=QUEUED)
        self.delivered: list[tuple[Envelope, bytes]] = []
        self.clients: list[Mapping[str, str]] = []

    def route_for(self, recipient: Address, *, identified: bool) -> Route | None:
        found = self.routes.get(recipient.domain) or (self.default if identified else None)
        return cast("Route | None", found)

    def extensions(self) -> Extensions:
        return self.offered

    async def verify(
        self, route: Route, envelope: Envelope, recipient: Address, client: Mapping[str, str]
    ) -> Reply:
        return self.refused_recipients.get(str(recipient), Reply(250, "2.1.5", ("Ok",)))

    async def deliver(
        self, route: Route, envelope: Envelope, chunks: Sequence[Octets], client: Mapping[str, str]
    ) -> Delivery:
        self.clients.append(client)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome.accepted:
            self.delivered.append((envelope, b"".join(chunks)))
        return self.outcome


class FakeBudget:
    """A memory budget of `left` bytes; also counts statistics."""

    def __init__(self) -> None:
        self.left = 1_000_000_000
        self.counts: dict[str, int] = {}
        self.labelled: list[tuple[str, ...]] = []
        self.delivery_seconds: list[float] = []

    def take(self, size_bytes: int) -> bool:
        if size_bytes > self.left:
            return False
        self.left -= size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        self.left += size_bytes

    def count(self, counter: str, by: int = 1) -> None:
        self.counts[counter] = self.counts.get(counter, 0) + by

    def count_by(self, *key: str) -> None:
        self.labelled.append(key)

    def delivery_took(self, seconds: float) -> None:
        self.delivery_seconds.append(seconds)


@dataclass
class World:
    """All the fakes, and the `Services` made of them."""

    clock: FakeClock = field(default_factory=FakeClock)
    audit: RecordingAudit = field(default_factory=RecordingAudit)
    trust: FakeTrust = field(default_factory=FakeTrust)
    next_hop: FakeNextHop = field(default_factory=FakeNextHop)
    budget: FakeBudget = field(default_factory=FakeBudget)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    policies: FakePolicies = field(default_factory=FakePolicies)
    store: MemoryStore = field(default_factory=MemoryStore)
    watcher: Watcher = field(init=False)
    consequences: Consequences = field(init=False)
    outbox: Outbox = field(init=False)
    panel: Panel = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self.store, self.clock, lambda: None)
        self.consequences = Consequences(self.watcher.view, (), timedelta(days=30))
        self.outbox = Outbox(self.store, self.clock)
        tools = Tools("edge.example.org", self.clock, FakeResolver(), self.store, offload)
        self.panel = panel(tools)

    def services(self) -> Services:
        return Services(
            hostname="edge.example.org",
            limits=self.limits,
            timeouts=self.timeouts,
            clock=self.clock,
            audit=self.audit,
            trust=self.trust,
            policies=self.policies,
            panel=self.panel,
            consequences=self.consequences,
            ledger=make_ledger(
                catalogue.settings_type().model_fields["checks"].default,
                self.consequences,
                self.store,
                self.outbox,
                self.clock,
            ),
            bans_are_permanent=True,
            restrict=self.watcher.restrict,
            next_hop=self.next_hop,
            budget=self.budget,
            statistics=self.budget,
            authentication_results=AuthenticationResults(
                "edge.example.org", ("edge.example.org",), ()
            ),
            offload=offload,
        )


def listener(folder: Path, **values: Any) -> Listener:
    """A listener's settings; the files they name need not be there."""
    files = CertificateFiles(chain=folder / "edge.pem", key=folder / "edge.key")
    return Listener.model_validate(
        {"name": "partners", "address": "127.0.0.1:2525", "certificate": [files], **values}
    )
