"""What is known about a certificate's revocation, from all sources together, and what follows.

Pure. Knows neither CRLs nor OCSP: both are sources that answer with one of six outcomes, and the six
are never folded together:

    good          a source that counts says that it is not revoked
    revoked       a source that counts says that it is
    unknown       an OCSP responder that may speak for the CA does not know the certificate
    stale         what the source says is too old to count
    unreachable   the source is named, but gave no usable answer: down, an error, forged, not yet asked
    no_source     nothing says where to ask

Sources are asked in the configured order until one answers good or revoked. If none does, the outcome
that says most stands, in the order unknown, stale, unreachable, no_source; all are in the evidence.
Of a chain, every certificate below the anchor is asked about, and the worst counts.

What follows depends on the mode: the identity's own if it has one, else the anchor's, else the default.
Where no CA vouches for a certificate (pin-only), there is nobody who could revoke it, and the mode is
off unless the identity has one:

    hard          good goes on; revoked and everything that is not known are refused
    soft          only revoked is refused; the outcome is in the evidence
    off           nobody is asked

RFC 5280 6.3, RFC 6960.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from relay.model import TrustStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from relay.pki.certificate import Certificate

__all__ = [
    "Answer",
    "Mode",
    "Modes",
    "Outcome",
    "Revocation",
    "RevocationSource",
    "RevocationVerdict",
    "status_of",
]


class Outcome(StrEnum):
    """What came of asking: metric label and audit field alike."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    STALE = "stale"
    UNREACHABLE = "unreachable"
    NO_SOURCE = "no_source"


class Mode(StrEnum):
    """What is done when revocation is not known."""

    HARD = "hard"
    SOFT = "soft"
    OFF = "off"


_GRAVITY: Final = {
    outcome: rank
    for rank, outcome in enumerate(
        (
            Outcome.REVOKED,
            Outcome.UNKNOWN,
            Outcome.STALE,
            Outcome.UNREACHABLE,
            Outcome.NO_SOURCE,
            Outcome.GOOD,
        )
    )
}
"""The worst of a chain has the lowest rank; so has the one that says most, of sources that know nothing."""


class Answer(NamedTuple):
    """What one source says of one certificate; `reason` is one sentence for people.

    `question` names what the source has set out to ask just now, "" if nothing: then this is not its
    last word, and whoever can wait gets a better one.
    """

    outcome: Outcome
    reason: str
    this_update: datetime | None = None
    next_update: datetime | None = None
    revoked_at: datetime | None = None
    question: str = ""


class RevocationSource(Protocol):
    """Answers from memory, at once: fetching is somebody else's work, before or beside."""

    @property
    def name(self) -> str:
        """The word for it: "crl" or "ocsp"."""
        ...

    def status(self, certificate: Certificate, issuer: Certificate, now: datetime) -> Answer:
        """Say what is known of a certificate; `issuer` is the CA that signed it, already verified.

        Raises MalformedCertificate only.
        """
        ...


class RevocationVerdict(NamedTuple):
    """What is known of a chain.

    `source` is the name of the source that decided, "" if none did. `asked` is what every source
    has said of every certificate that it was asked about: "leaf crl=stale ocsp=good, ca1 crl=good".
    `questions` are those on their way whose answers might change it.
    """

    outcome: Outcome
    source: str
    reason: str
    asked: str = ""
    questions: tuple[str, ...] = ()

    @property
    def evidence(self) -> dict[str, str]:
        """The verdict for the audit, flat; what has nothing to say is left out."""
        fields = {
            "revocation": str(self.outcome),
            "revocation_source": self.source,
            "revocation_reason": self.reason,
            "revocation_asked": self.asked,
        }
        return {key: value for key, value in fields.items() if value}


class Modes(NamedTuple):
    """Which mode counts below an anchor: its own (by SHA-256 of the certificate, in hex), or else."""

    default: Mode = Mode.SOFT
    by_anchor: Mapping[str, Mode] = {}


@dataclass(frozen=True, slots=True)
class Revocation:
    """The sources in the order in which they are asked, and the modes: what `trust.decide` needs."""

    sources: Sequence[RevocationSource] = ()
    modes: Modes = field(default_factory=Modes)

    def mode_for(self, path: Sequence[Certificate], stated: str) -> Mode:
        """The mode for a path.

        Args:
            path: leaf first and anchor last, or the leaf alone where no CA vouches for it.
            stated: the identity's own mode (`Identity.revocation`), "" if it has none.
        """
        if stated:
            return Mode(stated)
        if len(path) < 2:
            return Mode.OFF
        return self.modes.by_anchor.get(path[-1].sha256, self.modes.default)

    def judge(self, path: Sequence[Certificate], now: datetime) -> RevocationVerdict:
        """Ask about every certificate of a path but the anchor. Raises MalformedCertificate."""
        if len(path) < 2:
            reason = "no CA is known to vouch for it, so nobody can be asked"
            return RevocationVerdict(Outcome.NO_SOURCE, "", reason)
        found = [
            _Step(depth, *self._ask(path[depth], path[depth + 1], now))
            for depth in range(len(path) - 1)
        ]
        worst = min(found, key=lambda step: _GRAVITY[step.answer.outcome])
        reason = worst.answer.reason
        if worst.depth and worst.answer.outcome is not Outcome.GOOD:
            reason = f"{path[worst.depth].subject}: {reason}"
        asked = ", ".join(" ".join((step.label, *step.asked)) for step in found if step.asked)
        questions: tuple[str, ...] = ()
        if worst.answer.outcome is not Outcome.REVOKED:  # nothing could make that any better
            questions = tuple(each for step in found for each in step.questions)
        return RevocationVerdict(worst.answer.outcome, worst.source, reason, asked, questions)

    def _ask(
        self, certificate: Certificate, issuer: Certificate, now: datetime
    ) -> tuple[Answer, str, tuple[str, ...], tuple[str, ...]]:
        """Ask source after source.

        Returns:
            The answer that counts, whose it is, what all have said, and what is still being asked.
        """
        best, by = Answer(Outcome.NO_SOURCE, "nothing says where to ask about it"), ""
        asked: list[str] = []
        questions: tuple[str, ...] = ()
        for source in self.sources:
            answer = source.status(certificate, issuer, now)
            asked.append(f"{source.name}={answer.outcome}")
            if answer.outcome in {Outcome.GOOD, Outcome.REVOKED}:
                return answer, source.name, tuple(asked), ()
            if answer.question:
                questions += (answer.question,)
            if not by or _GRAVITY[answer.outcome] < _GRAVITY[best.outcome]:
                best, by = answer, source.name
        if best.outcome is Outcome.NO_SOURCE:
            by = ""  # nobody has said anything
        return best, by, tuple(asked), questions


class _Step(NamedTuple):
    """One certificate of the path, 0 for the leaf, with what was said of it."""

    depth: int
    answer: Answer
    source: str
    asked: tuple[str, ...]
    questions: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"ca{self.depth}" if self.depth else "leaf"


def status_of(verdict: RevocationVerdict, mode: Mode) -> TrustStatus | None:
    """What follows for the trust decision; None: nothing speaks against it."""
    if mode is Mode.OFF or verdict.outcome is Outcome.GOOD:
        return None
    if verdict.outcome is Outcome.REVOKED:
        return TrustStatus.REVOKED
    return TrustStatus.REVOCATION_UNKNOWN if mode is Mode.HARD else None
