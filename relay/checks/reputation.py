"""What the client, its network, its software and its sender's domain have done so far, as scores.

What counts how much is set here; whom it is charged to, `policy/ledger.py` knows. Knows nothing of what
may follow from a score.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import Field

from relay.policy.facts import Fact, FactType, Stage
from relay.policy.ledger import Subject, SubjectKind, credit_of, debit_of, score_of, subject_of
from relay.settings.table import Table
from relay.settings.values import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value
    from relay.ports import Clock, Store

__all__ = ["FACTS", "ReputationCheck", "Settings", "build"]

_REMEMBERED_SECONDS: Final = 2.0
_MAX_REMEMBERED: Final = 4096

FACTS: Final = (
    Fact(
        "reputation.network",
        FactType.DOUBLE,
        Stage.CONNECT,
        "The score of the client's network (/24, /64), from -100.0 to 100.0; 0.0 if nothing is known of it.",
    ),
    Fact(
        "reputation.ja4",
        FactType.DOUBLE,
        Stage.HELLO,
        "The score of the client's software, by its TLS fingerprint. Many share one.",
    ),
    Fact(
        "reputation.identity",
        FactType.DOUBLE,
        Stage.SENDER,
        "The score of the client's identity; 0.0 for nobody.",
    ),
    Fact(
        "reputation.sender",
        FactType.DOUBLE,
        Stage.SENDER,
        "The score of the sender's domain, of mail that was proven to be its own.",
    ),
    Fact(
        "reputation.score",
        FactType.DOUBLE,
        Stage.SENDER,
        "That of the identity; for a client without one, that of its network.",
    ),
)


class Weights(Table):
    """What each event counts: below 0 against a client, above 0 for it, 0 not at all."""

    plaintext: float = Field(default=-0.5, ge=-100, le=100)
    """A command that needs TLS, said without it."""

    old_version: float = Field(default=-1.0, ge=-100, le=100)
    """A handshake that offers TLS 1.1 at best."""

    fallback: float = Field(default=-1.0, ge=-100, le=100)
    """A handshake that says it has been pushed down a version (FALLBACK_SCSV)."""

    weaker: float = Field(default=-1.0, ge=-100, le=100)
    """A lower version, or no key exchange that withstands quantum computers, where there was one before."""

    bad_certificate: float = Field(default=-0.5, ge=-100, le=100)
    """A certificate that is refused. Honest clients come again and again with an expired one."""

    early_talk: float = Field(default=-5.0, ge=-100, le=100)
    """Talking before the banner."""

    smuggling: float = Field(default=-40.0, ge=-100, le=100)
    """Line ends that hide a message in another, or commands hidden behind STARTTLS."""

    listed: float = Field(default=-5.0, ge=-100, le=100)
    """A refusal of an address that lists in the DNS know."""

    breach: float = Field(default=-2.0, ge=-100, le=100)
    """Any other refusal for good (5xx) by a rule."""

    unknown_recipient: float = Field(default=-1.0, ge=-100, le=100)
    """A recipient that the next hop refuses for good."""

    delivered: float = Field(default=0.2, ge=-100, le=100)
    """A message that the next hop has taken."""


class HalfLives(Table):
    """After which time an event counts half."""

    network: Duration = timedelta(hours=1)
    """For networks: addresses change hands."""

    ja4: Duration = timedelta(hours=1)
    """For software."""

    identity: Duration = timedelta(days=1)
    """For identities."""

    sender: Duration = timedelta(days=1)
    """For senders' domains."""


class Settings(Table):
    """What clients have done: what counts how much, and how long."""

    weights: Weights = Weights()
    """What counts how much."""

    half_life: HalfLives = HalfLives()
    """How long it counts."""


def build(_settings: Settings, tools: Tools) -> ReputationCheck:
    """Make the check."""
    return ReputationCheck(tools.store, tools.clock)


class ReputationCheck:
    """Asks the store, at most every two seconds about the same one (`policy.check.WaitingCheck`)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._remembered: dict[Subject, tuple[float, float]] = {}

    keeps_time = True

    def at_once(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value] | None:
        """Report the wanted scores if all of them are remembered."""
        clock = self._clock.monotonic()
        found: dict[str, Value] = {}
        for name in wanted:
            subject = _subject(name, case)
            until, score = self._remembered.get(subject, _NEVER) if subject.name else _NOBODY
            if until <= clock:
                return None
            found[name] = score
        return found

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report the wanted scores."""
        subjects = {name: _subject(name, case) for name in wanted}
        scores = await self._scores({each for each in subjects.values() if each.name})
        return {name: scores.get(each, 0.0) for name, each in subjects.items()}

    async def _scores(self, subjects: set[Subject]) -> dict[Subject, float]:
        """Return what is remembered, and ask for the rest; others may forget meanwhile."""
        clock = self._clock.monotonic()
        kept = {each: self._remembered.get(each, _NEVER) for each in subjects}
        found = {each: score for each, (until, score) in kept.items() if until > clock}
        asked = [each for each in subjects if each not in found]
        if not asked:
            return found
        names = [name(each) for each in asked for name in (credit_of, debit_of)]
        sums = await self._store.scores(names, self._clock.now().timestamp())
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.clear()
        until = clock + _REMEMBERED_SECONDS
        for each, credit, debit in zip(asked, sums[::2], sums[1::2], strict=True):
            score = score_of(credit, debit)
            found[each] = score
            self._remembered[each] = (until, score)
        return found


_NEVER: Final = (0.0, 0.0)
_NOBODY: Final = (math.inf, 0.0)


_KINDS: Final = {f"reputation.{kind.value}": kind for kind in SubjectKind}


def _subject(fact: str, case: Case) -> Subject:
    kind = _KINDS.get(fact)
    if kind is None:  # reputation.score
        kind = SubjectKind.IDENTITY if case.identity else SubjectKind.NETWORK
    return Subject(kind, subject_of(kind, case))
