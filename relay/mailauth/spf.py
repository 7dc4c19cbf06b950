"""SPF (RFC 7208): whether an address may send mail for a domain.

The evaluation follows section 4 of the RFC, `check_host()`, step by step. It asks a `Resolver` and nothing
else of the world; whoever calls it bounds its time. What follows from the result is the policy's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.errors import Unavailable
from relay.mailauth.spf_macro import Macro, expand, expand_domain, parse_explanation
from relay.mailauth.spf_record import is_spf, parse_record

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from relay.mailauth.spf_macro import MacroString
    from relay.mailauth.spf_record import Directive, Record
    from relay.ports import Resolver

__all__ = ["Claim", "Evaluation", "SpfResult", "evaluate"]

_MAX_LOOKUPS: Final = 10  # RFC 7208 4.6.4
_MAX_VOID_LOOKUPS: Final = 2
_MAX_NAMES: Final = 10  # of an MX or PTR answer
_MAX_EXPLANATION: Final = 512


class SpfResult(StrEnum):
    """The results of RFC 7208 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Claim(NamedTuple):
    """Who says what: mail of `local`@`domain` comes from `ip`, which calls itself `hello`.

    Domains are ASCII (U-labels as A-labels, RFC 8616 4). `receiver` and `now`, in seconds since 1970,
    stand in explanations only.
    """

    ip: IPv4Address | IPv6Address
    local: str
    domain: str
    hello: str
    receiver: str = "unknown"
    now: int = 0


class Evaluation(NamedTuple):
    """What came out.

    `mechanism` is what matched, as the domain wrote it, "" if nothing did. `explanation` is the
    domain's own text for a fail: ASCII, else untouched. `problem` says for the log and the audit what an error is about.
    """

    result: SpfResult
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""


async def evaluate(claim: Claim, resolver: Resolver, *, explain: bool = False) -> Evaluation:
    """Evaluate a claim; with `explain`, fetch the domain's explanation of a fail.

    Never raises for what a domain has published or a name server has not answered.
    """
    check = _Check(claim, resolver)
    try:
        outcome = await check.check_host(claim.domain)
        explanation = await check.explain(outcome) if explain else ""
    except _PermanentError as error:
        return Evaluation(SpfResult.PERMERROR, problem=str(error))
    except Unavailable as error:
        return Evaluation(SpfResult.TEMPERROR, problem=str(error))
    return Evaluation(outcome.result, outcome.mechanism, explanation)


class _PermanentError(Exception):
    """The domain's records can't be evaluated (RFC 7208 2.6.7)."""


class _Outcome(NamedTuple):
    """The result for a domain, and the record and domain that gave it (not those included)."""

    result: SpfResult
    mechanism: str = ""
    record: Record | None = None
    domain: str = ""


class _Check:
    """One evaluation: what has been spent of its limits, and the letters of its macros."""

    __slots__ = (
        "_claim",
        "_ip",
        "_is_v4",
        "_kind",
        "_lookups",
        "_number",
        "_resolver",
        "_validated",
        "_voids",
    )

    def __init__(self, claim: Claim, resolver: Resolver) -> None:
        self._claim = claim
        self._resolver = resolver
        self._ip = getattr(claim.ip, "ipv4_mapped", None) or claim.ip  # RFC 7208 5
        self._is_v4 = self._ip.version == 4
        self._kind = "A" if self._is_v4 else "AAAA"
        self._number = int(self._ip)
        self._lookups = 0
        self._voids = 0
        self._validated: tuple[str, ...] | None = None

    # --- records --------------------------------------------------------------------------------

    async def check_host(self, domain: str) -> _Outcome:
        """Evaluate the record of a domain (RFC 7208 4)."""
        if not _is_domain(domain):
            return _NO_RECORD
        answer = await self._resolver.resolve(domain, "TXT")
        texts = [text for text in answer.records if is_spf(text)]
        if not texts:
            return _NO_RECORD
        if len(texts) > 1:  # RFC 7208 4.5
            raise _PermanentError(f"{domain} has {len(texts)} SPF records")
        record = parse_record(texts[0])
        if isinstance(record, str):
            raise _PermanentError(f"{domain}: {record}")
        for directive in record.directives:
            if await self._matches(directive, domain):
                return _Outcome(SpfResult(directive.result), directive.text, record, domain)
        if record.redirect is not None:
            self._count_lookup()
            target = await self._target(record.redirect, domain)
            if target is not None:
                return await self._redirect(target, domain)
        return _Outcome(SpfResult.NEUTRAL, "", record, domain)  # RFC 7208 4.7

    async def _redirect(self, target: str, domain: str) -> _Outcome:
        outcome = await self.check_host(target)
        if outcome.result is SpfResult.NONE:  # RFC 7208 6.1
            raise _PermanentError(f"{domain} redirects to {target}, which has no SPF record")
        return outcome

    async def explain(self, outcome: _Outcome) -> str:
        """Return the explanation of a fail; whatever is wrong with it, there is none (RFC 7208 6.2)."""
        record = outcome.record
        if outcome.result is not SpfResult.FAIL or record is None or record.explanation is None:
            return ""
        try:
            target = await self._target(record.explanation, outcome.domain)
            if target is None or not _is_queryable(target):
                return ""
            texts = (await self._resolver.resolve(target, "TXT")).records
            if len(texts) != 1 or not texts[0].isascii() or len(texts[0]) > _MAX_EXPLANATION:
                return ""
            parts = parse_explanation(texts[0])
            await self._prepare(parts)
        except (Unavailable, ValueError):
            return ""
        return expand(parts, lambda letter: self._value(letter, outcome.domain))

    # --- mechanisms -------------------------------------------------------------------------------

    async def _matches(self, directive: Directive, domain: str) -> bool:
        match directive.mechanism:
            case "ip4":
                return self._is_v4 and self._number >> directive.shifts[0] == directive.network
            case "ip6":
                return not self._is_v4 and self._number >> directive.shifts[1] == directive.network
            case "all":
                return True
        self._count_lookup()
        target = domain
        if directive.spec is not None:
            found = await self._target(directive.spec, domain)
            if found is None:
                return False
            target = found
        match directive.mechanism:
            case "include":
                return await self._include(target, domain)
            case "a":
                return self._is_among(await self._look_up(target, self._kind), directive)
            case "mx":
                return await self._mx(target, directive)
            case "exists":  # RFC 7208 5.7: A also for IPv6
                return bool(await self._look_up(target, "A"))
        return await self._ptr(target)

    async def _include(self, target: str, domain: str) -> bool:
        result = (await self.check_host(target)).result
        if result is SpfResult.NONE:  # RFC 7208 5.2
            raise _PermanentError(f"{domain} includes {target}, which has no SPF record")
        return result is SpfResult.PASS

    async def _mx(self, target: str, directive: Directive) -> bool:
        exchanges = await self._look_up(target, "MX")
        if len(exchanges) > _MAX_NAMES:  # RFC 7208 4.6.4
            raise _PermanentError(f"{target} has {len(exchanges)} mail exchanges")
        for exchange in exchanges:
            addresses = await self._look_up(exchange.partition(" ")[2], self._kind)
            if self._is_among(addresses, directive):
                return True
        return False

    async def _ptr(self, target: str) -> bool:
        return any(_is_within(name, target) for name in await self._validated_names())

    def _is_among(self, addresses: tuple[str, ...], directive: Directive) -> bool:
        """Whether one of the addresses, all of our kind, is ours up to the prefix length."""
        shift = directive.shifts[0 if self._is_v4 else 1]
        mine = self._number >> shift
        make = type(self._ip)
        return any(int(make(address)) >> shift == mine for address in addresses)

    # --- the DNS, within limits -------------------------------------------------------------------

    def _count_lookup(self) -> None:
        self._lookups += 1
        if self._lookups > _MAX_LOOKUPS:
            raise _PermanentError(f"more than {_MAX_LOOKUPS} terms that ask the DNS")

    async def _look_up(self, name: str, kind: str) -> tuple[str, ...]:
        """Ask for what a term names; too many answers with nothing in them are an error (4.6.4)."""
        if not _is_queryable(name):  # RFC 7208 4.8
            return ()
        records = (await self._resolver.resolve(name, kind)).records
        if not records:
            self._voids += 1
            if self._voids > _MAX_VOID_LOOKUPS:
                raise _PermanentError(f"more than {_MAX_VOID_LOOKUPS} questions without an answer")
        return records

    async def _validated_names(self) -> tuple[str, ...]:
        """The names that the address has and that have the address (RFC 7208 5.5); asked for once.

        Their look-ups count for no limit but their number: the peer has chosen them, not the domain.
        """
        if self._validated is None:
            self._validated = ()
            try:
                names = (await self._resolver.resolve(self._ip.reverse_pointer, "PTR")).records
            except Unavailable:
                return ()
            found = [name for name in names[:_MAX_NAMES] if await self._has_our_address(name)]
            self._validated = tuple(found)
        return self._validated

    async def _has_our_address(self, name: str) -> bool:
        try:
            addresses = (await self._resolver.resolve(name, self._kind)).records
        except Unavailable:
            return False
        make = type(self._ip)
        return any(make(address) == self._ip for address in addresses)

    # --- macros -----------------------------------------------------------------------------------

    async def _target(self, spec: MacroString, domain: str) -> str | None:
        """Fill in the domain of a term; None if the term can never match."""
        if not self._claim.local.isascii() and any(
            isinstance(part, Macro) and part.letter in "sl" for part in spec
        ):
            return None  # RFC 8616 4
        await self._prepare(spec)
        return expand_domain(spec, lambda letter: self._value(letter, domain))

    async def _prepare(self, parts: MacroString) -> None:
        """Find out what `%{p}` needs; all other letters are known."""
        if any(isinstance(part, Macro) and part.letter == "p" for part in parts):
            await self._validated_names()

    def _value(self, letter: str, domain: str) -> str:
        """What a letter stands for while `domain` is being checked (RFC 7208 7.2)."""
        claim = self._claim
        match letter:
            case "s":
                return f"{claim.local}@{claim.domain}"
            case "l":
                return claim.local
            case "o":
                return claim.domain
            case "d":
                return domain
            case "i":
                return str(self._ip) if self._is_v4 else ".".join(f"{self._number:032X}")
            case "p":
                return self._name_of_peer(domain)
            case "v":
                return "in-addr" if self._is_v4 else "ip6"
            case "h":
                return claim.hello
            case "c":
                return str(self._ip)
            case "r":
                return claim.receiver
        return str(claim.now)

    def _name_of_peer(self, domain: str) -> str:
        """The validated name nearest to the domain (RFC 7208 7.3: `p`)."""
        names = self._validated or ()
        if domain in names:
            return domain
        below = [name for name in names if _is_within(name, domain)]
        return (below or [*names, "unknown"])[0]


_NO_RECORD: Final = _Outcome(SpfResult.NONE)


def _is_queryable(name: str) -> bool:
    """Whether the DNS can be asked for it: no label is empty or too long (RFC 1035 2.3.4)."""
    return 0 < len(name) <= 253 and all(0 < len(label) < 64 for label in name.split("."))


def _is_domain(name: str) -> bool:
    """Whether it can be a mail domain: fully qualified, no address literal (RFC 7208 4.3)."""
    return "." in name and not name.startswith("[") and _is_queryable(name)


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")
