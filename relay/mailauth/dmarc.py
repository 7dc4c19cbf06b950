"""DMARC (RFC 9989): does anything prove that the domain in From has sent a message, and if not, what does it ask for?

What SPF and DKIM have found comes from the caller; policies and organizational domains are looked up
by walking up the DNS tree, eight questions at most a domain. Whether the wish of a domain is followed is for the rules to say.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.errors import Unavailable
from relay.mail.idn import to_ascii
from relay.mailauth.dmarc_record import Disposition, DmarcRecord, Psd, parse_dmarc_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay.model import Address
    from relay.ports import Resolver

__all__ = [
    "DmarcResult",
    "DmarcVerdict",
    "Identifier",
    "PublishedPolicy",
    "dns_name",
    "evaluate",
    "is_same_organization",
]

_MAX_LABELS: Final = 8  # RFC 9989 4.10: the domain itself, then seven labels and fewer
_MAX_NAME: Final = 253


class DmarcResult(StrEnum):
    """The words of RFC 8601 for DMARC."""

    NONE = "none"  # the domain asks for nothing
    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"  # nothing proves it
    TEMPERROR = "temperror"  # the DNS does not say so for now
    PERMERROR = "permerror"  # there is no one domain in From


class Identifier(NamedTuple):
    """A domain that SPF or DKIM has been asked about.

    `passes`: it is proven. `may_pass`: it might be, were it not for a temporary error.
    """

    domain: str
    passes: bool
    may_pass: bool = False


class PublishedPolicy(NamedTuple):
    """The record that counts for an author's domain: where it is, and what it asks for there."""

    domain: str
    record: DmarcRecord
    asks_for: Disposition


class DmarcVerdict(NamedTuple):
    """What came out.

    `domain` is the author's in ASCII, "" for `permerror`. `spf` and `dkim`: something of it that passes is
    aligned. `may_pass`: neither is, and but for a temporary error one might be. `problem` is for the log:
    what an error is about.
    """

    result: DmarcResult
    domain: str = ""
    policy: PublishedPolicy | None = None
    spf: bool = False
    dkim: bool = False
    may_pass: bool = False
    problem: str = ""

    @property
    def disposition(self) -> Disposition:
        """What the domain asks to be done with this message."""
        if self.result is not DmarcResult.FAIL or self.policy is None:
            return Disposition.NONE
        # RFC 9989 4.7 t=: the policy is being tried, not to be applied
        return Disposition.NONE if self.policy.record.is_test else self.policy.asks_for


class _NoAuthorDomain(Exception):
    """Why there is no one domain to ask about; never leaves this module."""


def _author_domain(authors: Iterable[Address] | None) -> str:
    if authors is None:
        raise _NoAuthorDomain("there is no single From field that can be read")
    domains = {dns_name(author.domain) for author in authors}
    if "" in domains:
        raise _NoAuthorDomain("From holds an address without a domain of the DNS")
    if len(domains) != 1:  # RFC 9989 5.3.1: what is not one domain can't be asked about
        raise _NoAuthorDomain("From names more than one domain")
    return domains.pop()


def dns_name(domain: str) -> str:
    """Spell a domain as the DNS is asked for it; "" if it can't be one."""
    if domain.startswith("["):
        return ""
    try:
        name = to_ascii(domain.lower()).lower().removesuffix(".")  # RFC 9989 5.3.1: A-labels
    except ValueError:
        return ""
    labels = name.split(".")
    is_sound = len(name) <= _MAX_NAME and all(0 < len(label) < 64 for label in labels)
    return name if is_sound else ""


async def evaluate(
    authors: Iterable[Address] | None,
    spf: Identifier | None,
    signatures: Sequence[Identifier],
    resolver: Resolver,
) -> DmarcVerdict:
    """Evaluate one message; never raises.

    Args:
        authors: the addresses in From; None if there is not one field that can be read.
        spf: the domain of MAIL FROM, of EHLO for the null sender.
        signatures: the d= of DKIM signatures.
        resolver: for the policies.
    """
    try:
        domain = _author_domain(authors)
    except _NoAuthorDomain as error:
        return DmarcVerdict(DmarcResult.PERMERROR, problem=str(error))
    try:
        policy = await _discover(domain, resolver)
    except Unavailable:
        problem = f"the DNS did not give the policy of {domain}"
        return DmarcVerdict(DmarcResult.TEMPERROR, domain, problem=problem)
    # Without a policy nobody says which domains are one organization: nothing but the author's own counts.
    strict_spf = policy is None or policy.record.strict_spf
    strict_dkim = policy is None or policy.record.strict_dkim
    by_spf = await _align(domain, (spf,) if spf else (), resolver, strict=strict_spf)
    by_dkim = await _align(domain, signatures, resolver, strict=strict_dkim)
    passes = by_spf.passes or by_dkim.passes  # RFC 9989 5.3.5: one is enough
    may_pass = not passes and (by_spf.may_pass or by_dkim.may_pass)
    result, problem = DmarcResult.FAIL, ""
    if policy is None:
        result = DmarcResult.NONE
    elif passes:
        result = DmarcResult.PASS
    elif may_pass:
        result, problem = DmarcResult.TEMPERROR, "what might prove it could not be had for now"
    return DmarcVerdict(result, domain, policy, by_spf.passes, by_dkim.passes, may_pass, problem)


# --- alignment ---------------------------------------------------------------------------------------


class _Alignment(NamedTuple):
    """Whether something that is aligned passes, or might."""

    passes: bool = False
    may_pass: bool = False


async def _align(
    author: str, identifiers: Sequence[Identifier], resolver: Resolver, *, strict: bool
) -> _Alignment:
    """Compare what SPF or DKIM has found with the author's domain (RFC 9989 4.4)."""
    may_pass = False
    for identifier in sorted(set(identifiers), key=lambda each: each.domain != author):
        if not (identifier.passes or identifier.may_pass):
            continue
        try:
            is_aligned = identifier.domain == author or (
                not strict and await is_same_organization(author, identifier.domain, resolver)
            )
        except Unavailable:
            may_pass = True
            continue
        if is_aligned and identifier.passes:
            return _Alignment(passes=True)
        may_pass = may_pass or is_aligned
    return _Alignment(may_pass=may_pass)


async def is_same_organization(one: str, other: str, resolver: Resolver) -> bool:
    """Whether two domains have the same organizational domain (RFC 9989 4.10.2).

    Raises:
        Unavailable: the DNS does not say for now.
    """
    if one == other:
        return True
    if one.rpartition(".")[2] != other.rpartition(".")[2]:
        return False  # an organizational domain ends as what is in it
    organization = _organization(one, await _walk(one, resolver))
    if not f".{other}".endswith(f".{organization}"):
        return False
    return _organization(other, await _walk(other, resolver)) == organization


def _organization(start: str, found: Sequence[tuple[str, DmarcRecord]]) -> str:
    """Choose among the records of a walk, the longest name first (RFC 9989 4.10.2)."""
    for domain, record in found:
        if record.psd is Psd.NO:
            return domain
        if record.psd is Psd.YES and domain != start:
            below = start.removesuffix(f".{domain}").rpartition(".")[2]
            return f"{below}.{domain}"
    return found[-1][0] if found else start


# --- the tree walk -----------------------------------------------------------------------------------


async def _discover(domain: str, resolver: Resolver) -> PublishedPolicy | None:
    """Find the policy that counts (RFC 9989 4.10.1): of the domain, its organization, or its public suffix."""
    own = await _record_at(domain, resolver)
    if own is not None:
        if own.policy is None:
            return None
        return PublishedPolicy(domain, own, own.policy)
    found = await _walk(domain, resolver)
    records = dict(found)
    where = _organization(domain, found)
    if where not in records:  # the record is that of the suffix, one label above
        where = where.partition(".")[2]
    record = records.get(where)
    if record is None or record.policy is None:
        return None
    exists = record.absent_policy is None or await _exists(domain, resolver)
    return PublishedPolicy(where, record, record.applied_to(own=False, exists=exists))


async def _walk(domain: str, resolver: Resolver) -> list[tuple[str, DmarcRecord]]:
    """Return the records at a domain and above, the longest name first (RFC 9989 4.10)."""
    found: list[tuple[str, DmarcRecord]] = []
    labels = domain.split(".")
    while labels:
        name = ".".join(labels)
        record = await _record_at(name, resolver)
        if record is not None:
            found.append((name, record))
            if record.psd is not Psd.UNSAID:
                break
        labels = labels[1:] if len(labels) < _MAX_LABELS else labels[1 - _MAX_LABELS :]
    return found


async def _record_at(domain: str, resolver: Resolver) -> DmarcRecord | None:
    """Look one record up; several are as good as none (RFC 9989 4.10)."""
    if len(domain) > _MAX_NAME - len("_dmarc."):  # no such name can be in the DNS
        return None
    answer = await resolver.resolve(f"_dmarc.{domain}", "TXT")
    records = [found for text in answer.records if (found := parse_dmarc_record(text))]
    return records[0] if len(records) == 1 else None


async def _exists(domain: str, resolver: Resolver) -> bool:
    """Whether there is such a name: RFC 8020 lets one type stand for all."""
    return (await resolver.resolve(domain, "A")).exists
