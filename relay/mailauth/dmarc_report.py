"""Aggregate feedback reports (RFC 9990): what is counted, and the file that tells a domain of it.

Pure text. Nothing in a report says who wrote to whom: domains, addresses of clients, results. Who gets
it, and when, is not known here.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from relay.mailauth.dmarc import DmarcResult
from relay.mailauth.dmarc_record import Disposition
from relay.names import PRODUCT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from relay.mailauth.dmarc import DmarcVerdict, PublishedPolicy

__all__ = ["Observation", "Published", "Report", "format_report", "observe"]

NAMESPACE: Final = "urn:ietf:params:xml:ns:dmarc-2.0"
MAX_SIGNATURES: Final = 100  # RFC 9990 3: of one row
_NOTHING: Final = "none"
_PASSED: Final = (
    "pass"  # RFC 9990, appendix A: proven, where the policy would have had consequences
)
_NO_XML: Final = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Published(NamedTuple):
    """A policy as it is told of: the domain of the record, and its tags, "" for those that are not there."""

    domain: str
    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    testing: str
    fo: str
    report_to: tuple[tuple[str, int | None], ...]


class Observation(NamedTuple):
    """What is counted of a message: all that two messages of one row have in common."""

    source_ip: str
    disposition: str
    dkim: str
    spf: str
    reason: str
    header_from: str
    envelope_from: str
    spf_domain: str
    spf_result: str
    signatures: tuple[tuple[str, str, str], ...]


class Report(NamedTuple):
    """One report: on which policy, of which time, under which name, and the rows with their counts."""

    published: Published
    begin: datetime
    end: datetime
    reporter: str
    contact: str
    rows: Mapping[Observation, int]

    @property
    def unique_id(self) -> str:
        """The same whenever the same report is sent again (RFC 9990 3)."""
        receiver = re.sub(r"[^A-Za-z0-9]", "", self.reporter)
        return f"{receiver}{int(self.begin.timestamp())}"

    @property
    def filename(self) -> str:
        """As RFC 9990 3 has it."""
        begin, end = int(self.begin.timestamp()), int(self.end.timestamp())
        return f"{self.reporter}!{self.published.domain}!{begin}!{end}!{self.unique_id}.xml.gz"

    @property
    def subject(self) -> str:
        """As RFC 9990 3 has it."""
        domain = self.published.domain
        return (
            f"Report Domain: {domain} Submitter: {self.reporter}"
            f" Report-ID: <{self.unique_id}@{self.reporter}>"
        )


def observe(
    verdict: DmarcVerdict,
    source_ip: str,
    spf: tuple[str, str],
    signatures: Sequence[tuple[str, str, str]],
    *,
    envelope_from: str,
    refused: bool,
    is_trusted: bool = False,
) -> tuple[Published, Observation] | None:
    """Return what is counted of a message; None if nobody wants to know.

    Args:
        verdict: on the message.
        source_ip: where it came from.
        spf: the domain that SPF was asked about, and the result.
        signatures: domain, selector and result of each.
        envelope_from: the domain of MAIL FROM.
        refused: whether the message was refused, for whatever cause.
        is_trusted: whether a trusted forwarder has vouched for it.
    """
    policy = verdict.policy
    if policy is None or not policy.record.report_to:
        return None
    applied, reason = _applied(verdict, refused=refused, is_trusted=is_trusted)
    observation = Observation(
        source_ip=source_ip,
        disposition=applied,
        dkim="pass" if verdict.dkim else "fail",
        spf="pass" if verdict.spf else "fail",
        reason=reason,
        header_from=verdict.domain,
        envelope_from=envelope_from,
        spf_domain=spf[0],
        spf_result=spf[1],
        signatures=_best_first(signatures, verdict.domain)[:MAX_SIGNATURES],
    )
    return _published(policy), observation


def _applied(verdict: DmarcVerdict, *, refused: bool, is_trusted: bool) -> tuple[str, str]:
    """What was done for the policy's sake, and why not what it asks for (RFC 9990 3)."""
    policy = verdict.policy
    assert policy is not None
    asked = policy.asks_for
    if verdict.result is DmarcResult.PASS and asked is not Disposition.NONE:
        return _PASSED, ""
    if verdict.result is not DmarcResult.FAIL or asked is Disposition.NONE:
        return _NOTHING, ""
    if policy.record.is_test:
        return _NOTHING, "policy_test_mode"
    if is_trusted:
        return _NOTHING, "trusted_forwarder"
    if asked is Disposition.REJECT and not refused:
        return _NOTHING, "local_policy"
    return asked.value, ""


def _best_first(
    signatures: Iterable[tuple[str, str, str]], author: str
) -> tuple[tuple[str, str, str], ...]:
    """Order by what a domain can learn most of (RFC 9990 3); nothing is learnt of one by nobody."""
    known = {each for each in signatures if each[0] and each[1]}
    return tuple(sorted(known, key=lambda each: (each[2] != "pass", each[0] != author, each)))


def _published(policy: PublishedPolicy) -> Published:
    record = policy.record
    assert record.policy is not None  # it is applied
    return Published(
        domain=policy.domain,
        p=record.policy.value,
        sp=record.subdomain_policy.value if record.subdomain_policy else "",
        np=record.absent_policy.value if record.absent_policy else "",
        adkim="s" if record.strict_dkim else "r",
        aspf="s" if record.strict_spf else "r",
        testing="y" if record.is_test else "n",
        fo=record.options,
        report_to=tuple((each.mailbox, each.max_bytes) for each in record.report_to),
    )


def format_report(report: Report) -> bytes:
    """Return the file, gzip-compressed; the same bytes for the same report (RFC 9990, appendix A)."""
    root = Element("feedback", xmlns=NAMESPACE)
    _text(root, "version", "1.0")
    metadata = SubElement(root, "report_metadata")
    _text(metadata, "org_name", report.reporter)
    _text(metadata, "email", report.contact)
    _text(metadata, "report_id", f"{report.unique_id}@{report.reporter}")
    dates = SubElement(metadata, "date_range")
    _text(dates, "begin", str(int(report.begin.timestamp())))
    _text(dates, "end", str(int(report.end.timestamp())))
    _text(metadata, "generator", PRODUCT)
    published = SubElement(root, "policy_published")
    _text(published, "domain", report.published.domain)
    _text(published, "discovery_method", "treewalk")
    for name in ("p", "sp", "np", "fo", "adkim", "aspf", "testing"):
        if value := getattr(report.published, name):
            _text(published, name, value)
    for observation, count in sorted(report.rows.items()):
        _add_record(root, observation, count)
    xml: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return gzip.compress(xml, mtime=0)


def _add_record(root: Element, seen: Observation, count: int) -> None:
    record = SubElement(root, "record")
    row = SubElement(record, "row")
    _text(row, "source_ip", seen.source_ip)
    _text(row, "count", str(count))
    evaluated = SubElement(row, "policy_evaluated")
    _text(evaluated, "disposition", seen.disposition)
    _text(evaluated, "dkim", seen.dkim)
    _text(evaluated, "spf", seen.spf)
    if seen.reason:
        _text(SubElement(evaluated, "reason"), "type", seen.reason)
    identifiers = SubElement(record, "identifiers")
    _text(identifiers, "header_from", seen.header_from)
    _text(identifiers, "envelope_from", seen.envelope_from)
    results = SubElement(record, "auth_results")
    for domain, selector, result in seen.signatures:
        dkim = SubElement(results, "dkim")
        _text(dkim, "domain", domain)
        _text(dkim, "selector", selector)
        _text(dkim, "result", result)
    spf = SubElement(results, "spf")
    _text(spf, "domain", seen.spf_domain)
    _text(spf, "scope", "mfrom")
    _text(spf, "result", seen.spf_result)


def _text(parent: Element, name: str, value: str) -> None:
    SubElement(parent, name).text = _NO_XML.sub("?", value)
