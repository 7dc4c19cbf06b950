"""Whether the domain in From has sent the message, by SPF or DKIM, and what it asks for if not (RFC 9989).

It takes what `spf` and `dkim` have found and looks the domain's wish up. Knows nothing of what follows.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from relay.checks import dkim, spf
from relay.checks.findings import Finding
from relay.mail.authentication_results import MethodResult
from relay.mailauth.dmarc import DmarcResult, DmarcVerdict, Identifier, dns_name, evaluate
from relay.mailauth.spf import SpfResult
from relay.mailauth.verification import DkimResult
from relay.pki.patterns import canonical_domain
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table
from relay.settings.values import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.mail.headers import HeaderBlock
    from relay.mailauth.verification import Verification
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "DmarcFinding", "Settings", "build", "found_so_far"]

FACTS: Final = (
    Fact(
        "dmarc.result",
        FactType.STRING,
        Stage.MESSAGE,
        '"pass" (SPF or DKIM prove the domain in From), "fail", "none" (the domain asks for nothing), '
        '"temperror" (the DNS did not answer), "permerror" (there is no one domain in From: none, '
        "several, or nothing that can be read).",
    ),
    Fact(
        "dmarc.policy",
        FactType.STRING,
        Stage.MESSAGE,
        'What the domain asks for where nothing proves it: "none", "quarantine", "reject"; "" if it says '
        "nothing.",
    ),
    Fact(
        "dmarc.disposition",
        FactType.STRING,
        Stage.MESSAGE,
        'What it asks to be done with this message: `policy` after a "fail", "none" otherwise and while '
        "it only tries its policy (t=y).",
    ),
    Fact("dmarc.domain", FactType.STRING, Stage.MESSAGE, 'The domain in From; "" for "permerror".'),
    Fact(
        "dmarc.aligned_spf",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether SPF passes for a domain of the same organization; where no record says what that is, for the same domain.",
    ),
    Fact(
        "dmarc.aligned_dkim",
        FactType.BOOL,
        Stage.MESSAGE,
        "The same of a DKIM signature.",
    ),
    Fact(
        "dmarc.may_pass",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether neither is so, and it might be, were it not for a temporary error.",
    ),
    Fact(
        "dmarc.problem",
        FactType.STRING,
        Stage.MESSAGE,
        'What a "temperror" or "permerror" is about.',
    ),
)


class Settings(Table):
    """DMARC: how long it may take."""

    timeout: Duration = timedelta(seconds=10)
    """For SPF, the keys of DKIM and the policies together; then the result is `temperror`."""


def build(settings: Settings, tools: Tools) -> DmarcCheck:
    """Make the check."""
    # Before the caller gives up: that time was up is a result, too.
    seconds = settings.timeout.total_seconds() * 0.95
    finding = Finding(partial(_evaluate, tools, seconds))
    tools.findings["dmarc"] = finding
    return DmarcCheck(finding)


class DmarcFinding(NamedTuple):
    """The verdict on a message, and what it was made of."""

    verdict: DmarcVerdict
    spf: spf.SpfFinding | None = None
    signatures: tuple[Verification, ...] = ()


def found_so_far(case: Case, tools: Tools) -> DmarcFinding | None:
    """Return what has been found out of a message; None if nobody wanted to know."""
    assert case.header is not None
    return cast("Finding[DmarcFinding]", tools.findings["dmarc"]).so_far(case.header)


async def _evaluate(tools: Tools, seconds: float, _header: HeaderBlock, case: Case) -> DmarcFinding:
    authors = case.authors
    try:
        async with asyncio.timeout(seconds):
            signatures, sent = await asyncio.gather(
                dkim.verifications(case, tools), spf.mail_from(case, tools)
            )
            verdict = await evaluate(authors, _of_spf(sent), _of_dkim(signatures), tools.resolver)
            return DmarcFinding(verdict, sent, signatures)
    except TimeoutError:
        return DmarcFinding(DmarcVerdict(DmarcResult.TEMPERROR, problem="no result in time"))


def _of_spf(found: spf.SpfFinding) -> Identifier:
    result = found.evaluation.result
    return Identifier(
        dns_name(found.domain), result is SpfResult.PASS, result is SpfResult.TEMPERROR
    )


def _of_dkim(signatures: Sequence[Verification]) -> list[Identifier]:
    return [
        Identifier(
            dns_name(each.domain),
            each.result is DkimResult.PASS,
            each.result is DkimResult.TEMPERROR,
        )
        for each in signatures
    ]


class DmarcCheck:
    """Evaluates once a message (`policy.check.WaitingCheck`)."""

    def __init__(self, finding: Finding[DmarcFinding]) -> None:
        self._finding = finding

    async def gather(
        self, case: Case, _stage: Stage, _wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the author's domain."""
        assert case.header is not None  # there is a message
        found = (await self._finding.of(case.header, case)).verdict
        return {
            "dmarc.result": found.result.value,
            "dmarc.policy": found.policy.asks_for.value if found.policy else "",
            "dmarc.disposition": found.disposition.value,
            "dmarc.domain": canonical_domain(found.domain),
            "dmarc.aligned_spf": found.spf,
            "dmarc.aligned_dkim": found.dkim,
            "dmarc.may_pass": found.may_pass,
            "dmarc.problem": found.problem,
        }

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Say what came out, and of SPF what nobody else has asked for (`policy.check.Witness`)."""
        found = self._finding.so_far(case.header) if case.header else None
        if found is None:
            return ()
        results = []
        if found.spf is not None and "spf.result" not in facts:
            results.append(spf.method_result(case, found.spf.evaluation.result.value))
        verdict = found.verdict
        properties = []
        if verdict.domain:
            properties.append(("header.from", verdict.domain))
        if verdict.policy is not None:
            properties.append(("policy.dmarc", verdict.disposition.value))
        results.append(
            MethodResult("dmarc", verdict.result.value, tuple(properties), verdict.problem)
        )
        return results
