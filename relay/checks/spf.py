"""SPF: what the sender's domain and the client's own name say of the client's address (RFC 7208).

Asks the DNS, in bounded time. Knows nothing of what follows from the results.
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from relay.mail.authentication_results import MethodResult
from relay.mail.idn import to_ascii
from relay.mailauth import spf
from relay.mailauth.spf import Claim, Evaluation, SpfResult
from relay.pki.patterns import canonical_domain
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table
from relay.settings.values import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "Settings", "SpfCheck", "SpfFinding", "build", "mail_from", "method_result"]

FACTS: Final = (
    Fact(
        "spf.result",
        FactType.STRING,
        Stage.SENDER,
        'What the domain of MAIL FROM, or of EHLO for the null sender, says of the address: "pass", "fail", '
        '"softfail", "neutral", "none" (it says nothing), "temperror" (the DNS did not answer), '
        '"permerror" (what it says cannot be understood).',
    ),
    Fact(
        "spf.helo_result",
        FactType.STRING,
        Stage.SENDER,
        "The same for the name in EHLO.",
    ),
    Fact(
        "spf.domain",
        FactType.STRING,
        Stage.SENDER,
        "The domain that `spf.result` is about, spelled as `sender.domain`.",
    ),
    Fact(
        "spf.mechanism",
        FactType.STRING,
        Stage.SENDER,
        'What in its record matched, as "include:_spf.example.com" or "-all"; "" if nothing did.',
    ),
    Fact(
        "spf.explanation",
        FactType.STRING,
        Stage.SENDER,
        "The domain's own explanation of a fail, printable ASCII, at most 200 characters; "
        '"" without one. Somebody else wrote it: say so where you show it.',
    ),
    Fact(
        "spf.problem",
        FactType.STRING,
        Stage.SENDER,
        'What a "temperror" or "permerror" is about; not for the client.',
    ),
)

_HELO: Final = frozenset({"spf.helo_result"})
_MAX_TEXT: Final = 200
_KEPT_SECONDS: Final = 5.0  # as long as a DNS answer is kept at least
_MAX_KEPT: Final = 1024
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")
_POSTMASTER: Final = "postmaster"  # RFC 7208 2.4, 4.3


class Settings(Table):
    """SPF: how long it may take."""

    timeout: Duration = timedelta(seconds=20)
    """For all questions about one domain (RFC 7208 4.6.4: 20 seconds); then the result is `temperror`."""


def build(settings: Settings, tools: Tools) -> SpfCheck:
    """Make the check."""
    check = SpfCheck(settings, tools)
    tools.findings["spf"] = check
    return check


class SpfFinding(NamedTuple):
    """The domain that was asked about, as it is spelled in the DNS, and what came out."""

    domain: str
    evaluation: Evaluation


async def mail_from(case: Case, tools: Tools) -> SpfFinding:
    """Return what `spf.result` is about, for those who need it whole (DMARC)."""
    return await cast("SpfCheck", tools.findings["spf"]).mail_from(case)


def method_result(case: Case, result: str) -> MethodResult:
    """Put what `spf.result` says into the words of RFC 8601 2.7.2."""
    address = case.sender.address if case.sender else None
    if address is None:
        return MethodResult("spf", result, (("smtp.helo", case.hello),))
    try:
        domain = to_ascii(address.domain)
    except ValueError:
        domain = address.domain
    local = address.local if address.local.isascii() else ""
    return MethodResult("spf", result, (("smtp.mailfrom", f"{local}@{domain}"),))


class SpfCheck:
    """Asks the DNS (`policy.check.WaitingCheck`)."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        # Before the caller gives up: that time was up is a result, too.
        self._timeout = settings.timeout.total_seconds() * 0.95
        self._tools = tools
        self._kept: dict[tuple[Claim, bool], tuple[float, Evaluation]] = {}

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the sender's domain, the client's name, or both."""
        own, other = wanted - _HELO, wanted & _HELO
        if own and other:
            reports = await asyncio.gather(self._about_sender(case, own), self._about_hello(case))
            return {**reports[0], **reports[1]}
        return await (self._about_sender(case, own) if own else self._about_hello(case))

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Say what rules have asked for (`policy.check.Witness`)."""
        result, helo = facts.get("spf.result"), facts.get("spf.helo_result")
        results = []
        if isinstance(result, str):
            results.append(method_result(case, result))
        if isinstance(helo, str):
            results.append(MethodResult("spf", helo, (("smtp.helo", case.hello),)))
        return results

    async def _about_hello(self, case: Case) -> dict[str, Value]:
        evaluation = await self._evaluate(case, _POSTMASTER, case.hello, explain=False)
        return {"spf.helo_result": evaluation.result.value}

    async def _about_sender(self, case: Case, wanted: frozenset[str]) -> dict[str, Value]:
        domain, evaluation = await self.mail_from(case, explain="spf.explanation" in wanted)
        return {
            "spf.result": evaluation.result.value,
            "spf.domain": canonical_domain(domain),
            "spf.mechanism": _printable(evaluation.mechanism),
            "spf.explanation": _printable(evaluation.explanation),
            "spf.problem": _printable(evaluation.problem),
        }

    async def mail_from(self, case: Case, *, explain: bool = False) -> SpfFinding:
        """Evaluate the sender's domain, the client's name for the null sender (RFC 7208 2.4)."""
        address = case.sender.address if case.sender else None
        local, domain = (address.local, address.domain) if address else ("", case.hello)
        evaluation = await self._evaluate(case, local or _POSTMASTER, domain, explain=explain)
        return SpfFinding(domain.lower().removesuffix("."), evaluation)

    async def _evaluate(self, case: Case, local: str, domain: str, *, explain: bool) -> Evaluation:
        ip = case.peer.ip
        if ip is None:  # a Unix socket
            return _NONE
        try:
            domain = to_ascii(domain)
            hello = to_ascii(case.hello)
        except ValueError:  # no domain of the DNS: nothing can be published there
            return _NONE
        claim = Claim(ip, local, domain.lower().removesuffix("."), hello, self._tools.hostname)
        now = self._tools.clock.monotonic()
        kept = self._kept.get((claim, explain))
        if kept is not None and kept[0] > now:
            return kept[1]
        return self._keep(await self._ask(claim, explain=explain), (claim, explain), now)

    async def _ask(self, claim: Claim, *, explain: bool) -> Evaluation:
        now = int(self._tools.clock.now().timestamp())
        try:
            async with asyncio.timeout(self._timeout):
                return await spf.evaluate(
                    claim._replace(now=now), self._tools.resolver, explain=explain
                )
        except TimeoutError:
            return Evaluation(SpfResult.TEMPERROR, problem="no result in time")

    def _keep(self, evaluation: Evaluation, key: tuple[Claim, bool], now: float) -> Evaluation:
        """Keep a result for the next message of the connection, and for DMARC."""
        if evaluation.result is not SpfResult.TEMPERROR:
            self._kept.pop(key, None)
            self._kept[key] = (now + _KEPT_SECONDS, evaluation)
            if len(self._kept) > _MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        return evaluation


_NONE: Final = Evaluation(SpfResult.NONE)


def _printable(text: str) -> str:
    """What others have written, as it may stand in a reply and a log: one short line of ASCII."""
    return _UNPRINTABLE.sub("?", text[:_MAX_TEXT]) if text else ""
