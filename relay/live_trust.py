"""The trust decision as a worker makes it: the allowlist in force, the anchors, the clock.

Joins `pki.trust.decide`, which is pure, with what changes under way. Decides nothing itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.model import TrustDecision, TrustStatus
from relay.pki import trust
from relay.pki.certificate import MalformedCertificate
from relay.pki.intermediates import Intermediates
from relay.pki.revocation import Mode, Modes, Outcome, Revocation
from relay.policy.restrictions import Restrictions
from relay.revocation.view import CrlView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from relay.material import Material
    from relay.model import Identity, TlsFacts
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.pki.revocation import RevocationSource
    from relay.ports import Clock
    from relay.revocation.folder import Held
    from relay.revocation.ocsp_news import News
    from relay.revocation.ocsp_view import OcspView

__all__ = ["LiveTrust"]

_DAY = 86_400
_MAX_ENDS = 20_000
_MAX_STANDING: Final = 1024
_MAX_STANDING_BYTES: Final = 16 * 1024
"""Of chains that are longer nothing is kept: a client could send a hundred kB of what nobody needs, ever other."""
_STANDING_SECONDS: Final = 60.0
"""How long a decision may be given again: for what nobody has thought of, since its version says when it may not."""
_SETTLED: Final = frozenset({None, Outcome.GOOD, Outcome.NO_SOURCE})
"""The worst that may come of asking about revocation if nobody need be asked again before the version changes."""


class _Standing(NamedTuple):
    """A decision that may be given again, at that version and until then (monotonic)."""

    decision: TrustDecision
    version: int
    until: float


class LiveTrust:
    """Implements `ports.Trust`; the allowlist and the revocation lists can be swapped under way.

    Args:
        material: the allowlist at the start, and the anchors of each listener.
        clock: for "now".
        on_intermediate: called with each new CA certificate that a trusted chain has shown.
        crls: the revocation lists; without, none are there.
        ocsp: the answers of OCSP responders; without, none is asked.
        restrictions: suspensions and revocations that rules and operators have put in force.
    """

    def __init__(
        self,
        material: Material,
        clock: Clock,
        on_intermediate: Callable[[Certificate], None] = lambda _: None,
        crls: CrlView | None = None,
        ocsp: OcspView | None = None,
        *,
        restrictions: Restrictions | None = None,
    ) -> None:
        self.intermediates = Intermediates()
        self._anchors = {
            name: trust.Anchors(listener.anchors) for name, listener in material.listeners.items()
        }
        self._material = material
        self._crls = crls or CrlView(timedelta(0))
        self._ocsp = ocsp
        self._restrictions = Restrictions() if restrictions is None else restrictions
        self._sources = _in_order(material.settings.revocation.sources, self._crls, ocsp)
        self._clock = clock
        self._on_intermediate = on_intermediate
        self._generation = 0
        self._version = 0
        self._counted: tuple[datetime, datetime] | None = None
        self._standing: dict[tuple[str, bool, tuple[Certificate, ...]], _Standing] = {}
        self._ends: list[float] = []  # of certificates that trust rests on, the next one first
        self.replace(material.allowlist)

    def replace(self, allowlist: Allowlist) -> None:
        """Put another allowlist in force, for live sessions too (they ask again at MAIL)."""
        self._allowlist = allowlist
        self._revocations = _revocations(self._material, allowlist, self._sources)
        self._begin_generation()

    def replace_anchors(self, anchors: Mapping[str, trust.Anchors]) -> None:
        """Put other anchors in force, by listener, for live sessions too; of others, they stay."""
        for name, before in self._anchors.items():
            after = anchors.get(name, before)
            if set(after.certificates) != set(before.certificates):
                self._anchors[name] = after
                self._begin_generation()

    def replace_crls(self, held: Held) -> None:
        """Put other revocation lists in force, for live sessions too."""
        if self._crls.replace(held):
            self._begin_generation()

    def learn(self, news: Iterable[News]) -> None:
        """Take what OCSP responders have said, for live sessions too."""
        if self._ocsp is None:
            return
        self._counted = None  # ends have moved
        if self._ocsp.learn(news):
            self._begin_generation()

    async def answered(self, questions: Sequence[str]) -> None:
        """Wait until the questions of a decision are answered, or will not be in time."""
        if self._ocsp is not None:
            await self._ocsp.answered(questions)

    def restrictions_changed(self) -> None:
        """Note that other restrictions are in force, for live sessions too."""
        self._begin_generation()

    def _begin_generation(self) -> None:
        self._generation += 1
        identities = self._allowlist.identities
        of_identities = [moment.timestamp() for each in identities for moment in _turns(each)]
        of_anchors = [
            _end_of(each) for anchors in self._anchors.values() for each in anchors.certificates
        ]
        of_restrictions = [each.until for each in self._restrictions if each.until is not None]
        self._turns = sorted(of_identities + of_anchors + of_restrictions + self._crls.turns())
        self._counted = None

    @property
    def version(self) -> int:
        """Changes with each list, and when a pin begins, or a pin, a suspension, a CRL or a certificate ends.

        And once a day, so that what is asked about certificates of long sessions is not forgotten.
        """
        now = self._clock.now()
        if self._counted is None or not self._counted[0] <= now < self._counted[1]:
            self._count(now)
        return self._version

    def _count(self, now: datetime) -> None:
        """Work the version out, and until when it stays: it is asked for with every message."""
        moment = now.timestamp()
        day = int(moment // _DAY)
        ends = [(day + 1.0) * _DAY]
        passed, latest = 0, 0.0
        of_ocsp = self._ocsp.ends if self._ocsp is not None else ()
        for turns in (self._turns, self._ends, of_ocsp):
            before = bisect_right(turns, moment)
            passed += before
            ends += turns[before : before + 1]
            latest = max((latest, *turns[before - 1 : before]))
        self._counted = now, now + timedelta(seconds=max(min(ends) - moment, 0))
        # Their number alone would be the same after one has moved and another has come.
        self._version = hash((day, self._generation, passed, latest))

    def decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        """Decide on what a peer has presented, now.

        Who was let in within the last minute is not looked at again before the version changes: verifying
        a chain costs half as much as the handshake.
        """
        if facts is None:
            return self._decide(listener, None)
        key = (listener, facts.resumed, facts.certificates)
        version, moment = self.version, self._clock.monotonic()  # as they were before
        found = self._standing.get(key)
        if found is not None and found.version == version and moment < found.until:
            return found.decision
        decision = self._decide(listener, facts)
        if (
            decision.is_trusted
            and not decision.questions
            and decision.evidence.get("revocation") in _SETTLED
            and sum(len(each.der) for each in facts.certificates) <= _MAX_STANDING_BYTES
        ):
            if len(self._standing) >= _MAX_STANDING:
                self._standing.clear()
            self._standing[key] = _Standing(decision, version, moment + _STANDING_SECONDS)
        return decision

    def _decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        certificates = facts.certificates if facts else ()
        if facts is not None and facts.resumed and len(certificates) == 1:
            certificates += self.intermediates.above(certificates[0])
        decision = trust.decide(
            certificates,
            self._allowlist,
            self._anchors[listener],
            self._clock.now(),
            revocation=self._revocations[listener],
        )
        if decision.is_trusted:
            decision = restricted(decision, certificates[0], self._restrictions)
        if decision.is_trusted:
            for certificate in certificates[1:]:
                if self.intermediates.add(certificate):
                    self._on_intermediate(certificate)
            assert decision.identity is not None
            # A pin alone outlives its certificate; but nobody can be asked about revocation then.
            is_asked_about = decision.evidence.get("revocation_mode") == Mode.HARD
            is_required = decision.identity.chain == "required" or is_asked_about
            if is_required or decision.status is TrustStatus.NAMED:
                self._remember_ends(certificates)
        return decision

    def _remember_ends(self, certificates: Sequence[Certificate]) -> None:
        """Note when what a peer is trusted by ends: it is asked about again then."""
        now = self._clock.now().timestamp()
        for certificate in certificates:
            end = certificate.derived(_end_of)
            place = bisect_left(self._ends, end)
            if end > now and self._ends[place : place + 1] != [end]:
                self._ends.insert(place, end)
                self._counted = None
        if len(self._ends) > _MAX_ENDS:
            del self._ends[: bisect_right(self._ends, now)]
            del self._ends[_MAX_ENDS // 2 :]  # the latest: once a day all are asked about
            self._begin_generation()


def restricted(
    decision: TrustDecision, leaf: Certificate, restrictions: Restrictions
) -> TrustDecision:
    """Return the decision, or that the identity is suspended or the key revoked until further notice."""
    assert decision.identity is not None  # trusted
    keys = (f"spki:sha256:{leaf.spki_sha256}", f"cert:sha256:{leaf.sha256}")
    found = next(filter(None, map(restrictions.revoked, keys)), None)
    status = TrustStatus.REVOKED
    if found is None:
        found, status = restrictions.suspended(decision.identity.name), TrustStatus.SUSPENDED
    if found is None:
        return decision
    reason = f"{status.value} by {found.by}: {found.reason}"
    return TrustDecision(status, decision.identity, reason, decision.evidence)


def _end_of(certificate: Certificate) -> float:
    """The first moment at which it does not count any more: its last second does."""
    try:
        return certificate.not_after.timestamp() + 1
    except MalformedCertificate:  # sent along with a good path, and of no account
        return 0.0


def _turns(identity: Identity) -> Iterator[datetime]:
    """The moments at which a decision on an identity changes by itself."""
    restored = identity.suspended.until if identity.suspended else None
    for moment in (identity.not_before, identity.not_after, restored):
        if moment is not None:
            yield moment


def _in_order(
    names: Sequence[str], *sources: RevocationSource | None
) -> tuple[RevocationSource, ...]:
    """Sort sources as the settings name them; one that they do not name is not asked."""
    by_name = {each.name: each for each in sources if each is not None}
    return tuple(by_name[name] for name in names if name in by_name)


def _revocations(
    material: Material, allowlist: Allowlist, sources: Sequence[RevocationSource]
) -> dict[str, Revocation | None]:
    """For each listener, whom to ask and how strictly; None where there is nobody to ask."""
    by_anchor = {
        certificate.sha256: Mode(authority.settings.mode)
        for authority in material.authorities
        for certificate in authority.certificates
        if authority.settings.mode is not None
    }
    defaults = {each.name: Mode(each.revocation) for each in material.settings.listener}
    # Without a CA there is nobody to ask, unless an identity insists on it.
    is_insisted_on = any(each.revocation for each in allowlist.identities)
    return {
        name: Revocation(sources, Modes(defaults[name], by_anchor))
        if listener.anchors or is_insisted_on
        else None
        for name, listener in material.listeners.items()
    }
