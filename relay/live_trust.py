"""The trust decision as a worker makes it: the allowlist in force, the anchors, the clock.

Joins `pki.trust.decide`, which is pure, with what changes under way. Decides nothing itself.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.pki import trust
from relay.pki.intermediates import Intermediates
from relay.pki.revocation import Mode, Modes, Revocation
from relay.revocation.view import CrlView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from relay.material import Material
    from relay.model import Identity, TlsFacts, TrustDecision
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.ports import Clock
    from relay.revocation.folder import Held

__all__ = ["LiveTrust"]


class LiveTrust:
    """Implements `ports.Trust`; the allowlist and the revocation lists can be swapped under way.

    Args:
        material: the allowlist at the start, and the anchors of each listener.
        clock: for "now".
        on_intermediate: called with each new CA certificate that a trusted chain has shown.
        crls: the revocation lists; without, none are there.
    """

    def __init__(
        self,
        material: Material,
        clock: Clock,
        on_intermediate: Callable[[Certificate], None] = lambda _: None,
        crls: CrlView | None = None,
    ) -> None:
        self.intermediates = Intermediates()
        self._anchors = {
            name: trust.Anchors(listener.anchors) for name, listener in material.listeners.items()
        }
        self._material = material
        self._crls = crls or CrlView(timedelta(0))
        self._clock = clock
        self._on_intermediate = on_intermediate
        self._generation = 0
        self.replace(material.allowlist)

    def replace(self, allowlist: Allowlist) -> None:
        """Put another allowlist in force, for live sessions too (they ask again at MAIL)."""
        self._allowlist = allowlist
        self._revocations = _revocations(self._material, allowlist, self._crls)
        self._begin_generation()

    def replace_crls(self, held: Held) -> None:
        """Put other revocation lists in force, for live sessions too."""
        if self._crls.replace(held):
            self._begin_generation()

    def _begin_generation(self) -> None:
        self._generation += 1
        identities = self._allowlist.identities
        of_identities = [moment.timestamp() for each in identities for moment in _turns(each)]
        self._turns = sorted(of_identities + self._crls.turns())

    @property
    def version(self) -> int:
        """Changes with each list, and when a pin begins, or a pin, a suspension or a CRL ends."""
        passed = bisect_right(self._turns, self._clock.now().timestamp()) if self._turns else 0
        return self._generation * 1_000_000 + passed

    def decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        """Decide on what a peer has presented, now."""
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
            for certificate in certificates[1:]:
                if self.intermediates.add(certificate):
                    self._on_intermediate(certificate)
        return decision


def _turns(identity: Identity) -> Iterator[datetime]:
    """The moments at which a decision on an identity changes by itself."""
    restored = identity.suspended.until if identity.suspended else None
    for moment in (identity.not_before, identity.not_after, restored):
        if moment is not None:
            yield moment


def _revocations(
    material: Material, allowlist: Allowlist, crls: CrlView
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
        name: Revocation((crls,), Modes(defaults[name], by_anchor))
        if listener.anchors or is_insisted_on
        else None
        for name, listener in material.listeners.items()
    }
