"""What follows from a breach beyond the reply: whom to ban or suspend, and for how long.

Pure: it says what restriction is due; the session puts it in force. Knows no rule and no store.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from relay.model import Restriction, RestrictionKind
from relay.policy.networks import NetworkTable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from relay.model import Endpoint, Network
    from relay.policy.case import Case
    from relay.policy.restrictions import Restrictions
    from relay.policy.verdict import Sanction

__all__ = ["Consequences"]

_MAX_DOUBLINGS: Final = 20


class Consequences:
    """Whom the policy may touch, and how hard.

    Args:
        restrictions: what is in force.
        exempt: networks that are never banned.
        max_duration: the longest that one restriction may last.
    """

    def __init__(
        self, restrictions: Restrictions, exempt: Iterable[Network], max_duration: timedelta
    ) -> None:
        self._restrictions = restrictions
        self._exempt: NetworkTable[bool] = NetworkTable()
        for network in exempt:
            self._exempt.put(str(network), value=True)
        self._max_seconds = max_duration.total_seconds()

    def is_banned(self, peer: Endpoint) -> bool:
        """Whether nobody speaks to an address; one that is exempt is not, though its network be banned."""
        address = peer.ip
        return self._restrictions.banned(address) is not None and not self._is_exempt(str(address))

    def is_exempt(self, peer: Endpoint) -> bool:
        """Whether an address is never held responsible."""
        return self._is_exempt(str(peer.ip))

    def due(self, sanction: Sanction, case: Case, now: float) -> Restriction | None:
        """Return what a sanction amounts to; None if there is nobody to restrict, or it is in force.

        Where an identity is known, it is suspended, and its address is left alone: others may come
        from there. Each restriction within the memory of the last one lasts twice as long.
        """
        target = self._target(sanction, case)
        if target is None:
            return None
        kind, subject = target
        last = self._restrictions.last(kind, subject)
        if last is not None and last.is_in_force(now):
            return None
        times = last.times + 1 if last else 1
        seconds = sanction.duration.total_seconds() * 2 ** min(times - 1, _MAX_DOUBLINGS)
        return Restriction(
            kind=kind,
            subject=subject,
            reason=sanction.reason,
            by=sanction.rule,
            since=now,
            until=now + min(seconds, self._max_seconds),
            times=times,
        )

    def _target(self, sanction: Sanction, case: Case) -> tuple[RestrictionKind, str] | None:
        if case.identity is not None:
            return RestrictionKind.SUSPENSION, case.identity.name
        address = case.peer.ip
        if sanction.kind is not RestrictionKind.BAN or address is None:
            return None
        if self._is_exempt(str(address)):
            return None
        prefix = sanction.prefixes[0] if address.version == 4 else sanction.prefixes[1]
        return RestrictionKind.BAN, str(ip_network((address, prefix), strict=False))

    def _is_exempt(self, address: str) -> bool:
        return any(self._exempt.find(address))
