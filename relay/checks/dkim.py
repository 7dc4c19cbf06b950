"""Which domains have signed the message, and whether their signatures hold (RFC 6376).

What follows from it is mostly DMARC's to say, which gets the verdicts one by one: `verifications`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from pydantic import Field

from relay.checks.findings import Finding
from relay.mail.authentication_results import MethodResult
from relay.mailauth import dkim
from relay.mailauth.dkim import Acceptance
from relay.mailauth.key_record import MIN_RSA_BITS, STRONG_RSA_BITS
from relay.mailauth.verification import DkimResult, Verification
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.mail.headers import HeaderBlock
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "Settings", "build", "verifications"]

FACTS: Final = (
    Fact(
        "dkim.result",
        FactType.STRING,
        Stage.MESSAGE,
        'The best verdict on any signature: "pass", "temperror" (no key could be had for now), "policy" '
        '(it holds, but does not suffice: see `partial`), "fail", "permerror", "neutral" (a key under '
        'test), or "none" without a signature.',
    ),
    Fact(
        "dkim.domains",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The domains (d=) whose signatures pass.",
    ),
    Fact(
        "dkim.selectors",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The selectors (s=) of the signatures that pass, in the order of `domains`.",
    ),
    Fact(
        "dkim.weak_key",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a signature was made with an RSA key below 2048 bits; below 1024 none passes.",
    ),
    Fact(
        "dkim.partial",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a signature that holds covers the beginning of the body only (l=): anybody can "
        "append to such a message.",
    ),
    Fact(
        "dkim.signatures",
        FactType.INT,
        Stage.MESSAGE,
        "The number of signatures on the message, whatever they are worth.",
    ),
    Fact(
        "dkim.errors",
        FactType.STRINGS,
        Stage.MESSAGE,
        'Why signatures do not pass, as "example.org: the body is not what was signed".',
    ),
)

_BEST_FIRST: Final = (
    DkimResult.PASS,
    DkimResult.TEMPERROR,
    DkimResult.POLICY,
    DkimResult.FAIL,
    DkimResult.PERMERROR,
    DkimResult.NEUTRAL,
)


class Settings(Table):
    """DKIM signatures: what is enough."""

    max_signatures: int = Field(default=8, ge=1, le=50)
    """How many signatures of a message are looked at, from the top; each can cost a question to the DNS."""

    min_key_bits: int = Field(default=MIN_RSA_BITS, ge=MIN_RSA_BITS, le=4096)
    """The shortest RSA key that passes."""

    accept_partial: bool = False
    """Whether a signature with `l=` may pass, though what follows the signed bytes may be anybody's."""


def build(settings: Settings, tools: Tools) -> DkimCheck:
    """Make the check."""
    acceptance = Acceptance(
        max_signatures=settings.max_signatures,
        min_rsa_bits=settings.min_key_bits,
        partial=settings.accept_partial,
    )
    finding = Finding(partial(_verify, tools, acceptance))
    tools.findings["dkim"] = finding
    return DkimCheck(finding)


async def verifications(case: Case, tools: Tools) -> tuple[Verification, ...]:
    """Return the verdict on each signature of the message, from the top; found out once a message."""
    if case.header is None:
        return ()
    return await cast("Finding[tuple[Verification, ...]]", tools.findings["dkim"]).of(case.header)


async def _verify(
    tools: Tools, acceptance: Acceptance, header: HeaderBlock
) -> tuple[Verification, ...]:
    return await dkim.verify(header, tools.resolver, tools.offload, tools.clock.now(), acceptance)


class DkimCheck:
    """Verifies once a message (`policy.check.WaitingCheck`)."""

    def __init__(self, finding: Finding[tuple[Verification, ...]]) -> None:
        self._finding = finding

    async def gather(
        self, case: Case, _stage: Stage, wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Report on the signatures; nothing is verified to count them."""
        header = case.header
        count = len(header.named(b"dkim-signature")) if header else 0
        if header is None or not count:
            return _NO_SIGNATURES
        if wanted == {"dkim.signatures"}:
            return {"dkim.signatures": count}
        verified = await self._finding.of(header)
        return _facts(verified) | {"dkim.signatures": count}

    def testify(self, case: Case, facts: Mapping[str, Value]) -> Sequence[MethodResult]:
        """Say what became of each signature (`policy.check.Witness`)."""
        verified = self._finding.so_far(case.header) if case.header else None
        if verified:
            return tuple(map(_method_result, verified))
        if verified is not None or facts.get("dkim.result") == DkimResult.NONE:
            return (MethodResult("dkim", "none"),)
        return ()


def _method_result(verified: Verification) -> MethodResult:
    """Put a verdict into the words of RFC 8601 2.7.1, RFC 6008 and RFC 8616."""
    properties = (
        ("header.d", verified.domain),
        ("header.s", verified.selector),
        ("header.a", verified.algorithm),
        ("header.b", verified.signature),
    )
    shown = tuple((name, value) for name, value in properties if value)
    return MethodResult("dkim", verified.result.value, shown, verified.reason)


def _facts(verified: Sequence[Verification]) -> dict[str, Value]:
    results = {each.result for each in verified}
    passing = [each for each in verified if each.result is DkimResult.PASS]
    return {
        "dkim.result": next((word.value for word in _BEST_FIRST if word in results), "none"),
        "dkim.domains": tuple(each.domain for each in passing),
        "dkim.selectors": tuple(each.selector for each in passing),
        "dkim.weak_key": any(
            each.algorithm == "rsa-sha256" and 0 < each.key_bits < STRONG_RSA_BITS
            for each in verified
        ),
        "dkim.partial": any(each.unsigned_bytes is not None for each in verified),
        "dkim.errors": tuple(
            f"{each.domain or 'no domain'}: {each.reason}" for each in verified if each.reason
        ),
    }


_NO_SIGNATURES: Final[Mapping[str, Value]] = _facts(()) | {"dkim.signatures": 0}
