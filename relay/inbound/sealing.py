"""ARC sealing: our set on top of a message that leaves us, for those behind us who believe us (RFC 8617 5.1).

It says what we have found and that we have handled the message, and nothing else. Where none may seal
(a chain that has ended, or could not be verified for now), nothing is added.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from relay.checks import arc
from relay.mail.authentication_results import format_results
from relay.mailauth.arc_sealing import may_seal, seal
from relay.mailauth.canonicalization import body_start, hashing
from relay.mailauth.dkim import OFFLOAD_BYTES
from relay.turns import in_turns

if TYPE_CHECKING:
    from relay.mailauth.signing import SigningKey
    from relay.model import Octets
    from relay.policy.case import Case
    from relay.policy.check import Tools

__all__ = ["Sealing"]


@dataclass(frozen=True, slots=True)
class Sealing:
    """Seals what leaves a worker.

    Args:
        key: ours.
        authserv_id: the name that results are told under.
        tools: of the check that verifies chains.
        seconds: how long a message waits for the keys of those who have sealed it before.
    """

    key: SigningKey
    authserv_id: str
    tools: Tools
    seconds: float

    async def prepare(self, case: Case) -> None:
        """Verify the chain, so that what came out is told, too."""
        try:
            async with asyncio.timeout(self.seconds):
                await arc.chain(case, self.tools)
        except TimeoutError:
            pass  # then it goes without our seal

    async def seal(self, chunks: list[Octets], case: Case, results: str) -> list[Octets]:
        """Return the message with our set in front, if there may be one.

        Args:
            chunks: the message as it leaves us; what a set signs is in it as it came.
            case: the message as it came; `prepare` has seen it.
            results: the value of Authentication-Results, "" for none.
        """
        chain, header = arc.found_so_far(case, self.tools), case.header
        if chain is None or header is None or not may_seal(chain):
            return chunks
        body = await in_turns(hashing(header.message, body_start(header), relaxed=True))
        told = results or format_results(self.authserv_id, ())
        now = self.tools.clock.now()
        work = partial(seal, header, chain, told, self.key, now, body=body.digests[None])
        is_long = header.end > OFFLOAD_BYTES
        return [await self.tools.offload(work) if is_long else work(), *chunks]
