"""What connections send within two turns of the event loop, given to the kernel in one go.

A write to a socket wakes whoever reads at the other end. On a busy machine that is also theirs (the next hop is often
there, and a proxy may be), they take the processor at once, for one reply; and back again with cold caches. Held
back until others have written too, the writes wake them less often, and for more: docs/decisions/0042.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

__all__ = ["Writes"]

_LONG_SECONDS: Final = 0.001
"""Nobody is held back for longer: turns that take as long have other work in them, not more writes."""


class _Sender(Protocol):
    def flush(self) -> None: ...


class Writes:
    """Tells those who have something to send when to `flush`: at once, or with others two turns later.

    Where hardly anything is going on nobody comes along to wait for. So senders are held back only if there
    was more than one write within the last two turns in which there was any.
    """

    __slots__ = ("_count", "_has_company", "_held", "_since")

    def __init__(self) -> None:
        self._held: list[_Sender] = []
        self._has_company = False
        self._count = 0  # of writes in these two turns
        self._since = 0.0

    def add(self, sender: _Sender) -> None:
        """Have it flushed, with the others or now."""
        if not self._count:
            self._since = time.monotonic()
            asyncio.get_running_loop().call_soon(self._end_first_turn)
        self._count += 1
        if self._has_company:
            self._held.append(sender)
        else:
            sender.flush()

    def _end_first_turn(self) -> None:
        if time.monotonic() - self._since > _LONG_SECONDS:
            self._flush()
        else:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._has_company = self._count > 1
        self._count = 0
        held, self._held = self._held, []
        for sender in held:
            sender.flush()
