"""Rate limits by GCRA: one moment a key says how much of a limit is used. Arithmetic only.

Theory: a limit of N in P seconds lets one unit pass each P/N seconds. A key remembers the moment
at which all that it was charged would have passed at that pace (the theoretical arrival time of
ATM's generic cell rate algorithm, ITU-T I.371). A charge is admitted as long as that moment stays
within P of now, so N may come at once, and then one each P/N. A key whose moment is past is as
good as unknown: stores forget it.

`state/scripts/spend.lua` does the same for Redis; a test holds the two together. Knows no store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.model import Charge

__all__ = ["settle"]


def settle(arrival: float, charge: Charge, now: float) -> tuple[float, float]:
    """Decide on one charge.

    Args:
        arrival: the key's moment so far; 0 for a key that is not known.
        charge: what is asked for; a cost of 0 asks for one unit and takes none.
        now: the present.

    Returns:
        The key's moment if the charge is made, and the seconds until it would be admitted: 0 if
        it is now, infinity if it is larger than its limit.
    """
    _, cost, limit, period = charge  # for each message a few times: spelled for speed
    asked = cost or 1
    if asked > limit:
        return arrival, math.inf
    interval = period / limit
    # Further than a period ahead is what no limit of this kind could have left behind: a clock
    # that ran ahead, or a limit that was changed. It must not lock anybody out for long.
    latest = now + period
    start = now if arrival < now else min(arrival, latest)
    after = start + asked * interval
    wait = after - latest
    # Sums of fractions are not exact: without tolerance the last of N would be refused at times.
    # (A moment is exact to 0.2 us: limits beyond some 50,000 an hour may miss by one in a thousand.)
    if wait > interval / 2:
        return arrival, wait
    return (after if cost else arrival), 0.0
