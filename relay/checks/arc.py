"""Who has handled the message before us, and whether we believe the last of them (RFC 8617).

What they have seen is for DMARC to make use of, which gets the whole chain: `chain`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from relay.checks.findings import Finding
from relay.mail.authentication_results import MethodResult, result_of
from relay.mailauth import arc
from relay.mailauth.verification import DkimResult
from relay.pki.patterns import canonical_domain
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.mail.headers import HeaderBlock
    from relay.mailauth.arc import ArcChain
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "Settings", "build", "chain", "found_so_far"]

FACTS: Final = (
    Fact(
        "arc.result",
        FactType.STRING,
        Stage.MESSAGE,
        'What the chain is: "pass", "fail" (worth as much as none), "temperror" (a key could not be had '
        'for now), or "none".',
    ),
    Fact(
        "arc.sealer",
        FactType.STRING,
        Stage.MESSAGE,
        "The domain that has sealed last, if the chain passes; else empty.",
    ),
    Fact(
        "arc.trusted",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether the chain passes and its last sealer is one of `trusted_sealers`.",
    ),
    Fact(
        "arc.instances",
        FactType.INT,
        Stage.MESSAGE,
        "How many have sealed, whatever the chain is worth.",
    ),
    Fact(
        "arc.dmarc",
        FactType.STRING,
        Stage.MESSAGE,
        'What the last sealer has found by DMARC, "pass" say, if it is one of `trusted_sealers`, the '
        'chain passes and From is signed by it; else "".',
    ),
)


_OF_TRUSTED: Final = frozenset({"arc.dmarc"})


class Settings(Table):
    """ARC: who is believed. Anybody can make a chain that passes."""

    trusted_sealers: tuple[str, ...] = ()
    """Domains (d= of the seal) whose word is taken on what they have seen: mailing lists and forwarders
    that you know."""


def build(settings: Settings, tools: Tools) -> ArcCheck:
    """Make the check."""
    finding = Finding(partial(_verify, tools))
    tools.findings["arc"] = finding
    return ArcCheck(finding, frozenset(map(canonical_domain, settings.trusted_sealers)))


async def chain(case: Case, tools: Tools) -> ArcChain:
    """Return the chain of the message; found out once a message."""
    if case.header is None:
        return arc.NO_CHAIN
    return await cast("Finding[ArcChain]", tools.findings["arc"]).of(case.header)


def found_so_far(case: Case, tools: Tools) -> ArcChain | None:
    """Return the chain if somebody has asked for it already."""
    if case.header is None:
        return None
    return cast("Finding[ArcChain]", tools.findings["arc"]).so_far(case.header)


async def _verify(tools: Tools, header: HeaderBlock) -> ArcChain:
    return await arc.verify(header, tools.resolver, tools.offload, tools.clock.now())


class ArcCheck:
    """Verifies once a message (`policy.check.WaitingCheck`)."""

    def __init__(self, finding: Finding[ArcChain], trusted: frozenset[str]) -> None:
        self._finding = finding
        self._trusted = trusted

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the chain; nothing is verified for nobody's word."""
        header = case.header
        if wanted == _OF_TRUSTED and not self._trusted:
            return {"arc.dmarc": ""}
        found = arc.NO_CHAIN
        if header is not None and arc.has_chain(header):
            found = await self._finding.of(header)
        sealer = found.sets[-1].domain if found.sets else ""
        is_trusted = bool(sealer) and sealer in self._trusted
        is_told = is_trusted and found.is_author_signed
        said = result_of(found.sets[-1].authentication_results, "dmarc") if is_told else ""
        return {
            "arc.result": found.result.value,
            "arc.sealer": sealer,
            "arc.trusted": is_trusted,
            "arc.instances": found.instances,
            "arc.dmarc": said,
        }

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Say what the chain is (`policy.check.Witness`, RFC 8617 10.2)."""
        found = self._finding.so_far(case.header) if case.header else None
        if found is not None:
            return (MethodResult("arc", found.result.value, reason=found.reason),)
        if facts.get("arc.result") == DkimResult.NONE:
            return (MethodResult("arc", "none"),)
        return ()
