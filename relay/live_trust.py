"""The trust decision as a worker makes it: the allowlist in force, the anchors, the clock.

Joins `pki.trust.decide`, which is pure, with what changes under way. Decides nothing itself.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from relay.pki import trust
from relay.pki.intermediates import Intermediates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from relay.material import Material
    from relay.model import Identity, TlsFacts, TrustDecision
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.ports import Clock

__all__ = ["LiveTrust"]


class LiveTrust:
    """Implements `ports.Trust`; `replace` swaps the allowlist under way.

    Args:
        material: the allowlist at the start, and the anchors of each listener.
        clock: for "now".
        on_intermediate: called with each new CA certificate that a trusted chain has shown.
    """

    def __init__(
        self,
        material: Material,
        clock: Clock,
        on_intermediate: Callable[[Certificate], None] = lambda _: None,
    ) -> None:
        self.intermediates = Intermediates()
        self._anchors = {
            name: trust.Anchors(listener.anchors) for name, listener in material.listeners.items()
        }
        self._clock = clock
        self._on_intermediate = on_intermediate
        self._generation = 0
        self.replace(material.allowlist)

    def replace(self, allowlist: Allowlist) -> None:
        """Put another allowlist in force, for live sessions too (they ask again at MAIL)."""
        self._allowlist = allowlist
        self._generation += 1
        self._turns = sorted(
            moment.timestamp() for identity in allowlist.identities for moment in _turns(identity)
        )

    @property
    def version(self) -> int:
        """Changes with the list, and whenever a pin begins or ends, or a suspension ends."""
        passed = bisect_right(self._turns, self._clock.now().timestamp()) if self._turns else 0
        return self._generation * 1_000_000 + passed

    def decide(self, listener: str, facts: TlsFacts | None) -> TrustDecision:
        """Decide on what a peer has presented, now."""
        certificates = facts.certificates if facts else ()
        if facts is not None and facts.resumed and len(certificates) == 1:
            certificates += self.intermediates.above(certificates[0])
        decision = trust.decide(
            certificates, self._allowlist, self._anchors[listener], self._clock.now()
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
