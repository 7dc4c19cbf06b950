"""What do the revocation lists at hand say of one certificate?

Looks into indexes that `crl.check_crl` had nothing against; knows nothing of where they come from.
Lists are found by name *and* key of the CA, so the same serial number of another CA means nothing. A
list that is stale still revokes, but calls nothing good. RFC 5280 5.2.4 (deltas), 6.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from relay.pki.crl import issuer_ids
from relay.pki.revocation import Answer, Outcome
from relay.pki.revocation_urls import crl_urls, point_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from relay.pki.certificate import Certificate
    from relay.pki.serial_index import Entry, IndexHeader, SerialIndex

__all__ = ["CrlSource", "HeldList", "delta_fault", "is_covered", "look_up"]

_REMOVED = "removeFromCRL"


class HeldList(NamedTuple):
    """A complete list and the newest delta to it, if there is one."""

    complete: SerialIndex
    delta: SerialIndex | None = None


@dataclass(frozen=True, slots=True)
class CrlSource:
    """The lists at hand as a `revocation.RevocationSource`; for newer lists, make another one.

    `grace` is how long a list still counts beyond its nextUpdate.
    """

    lists: Sequence[HeldList]
    grace: timedelta

    @property
    def name(self) -> str:
        """The word for it."""
        return "crl"

    def status(self, certificate: Certificate, issuer: Certificate, now: datetime) -> Answer:
        """Say what the lists say of a certificate. Raises MalformedCertificate."""
        return look_up(certificate, issuer, self.lists, now, self.grace)


def delta_fault(delta: IndexHeader, complete: IndexHeader) -> str | None:
    """Say why a delta cannot be joined with a complete list, None if it can (RFC 5280 5.2.4)."""
    if (delta.issuer_name, delta.issuer_key) != (complete.issuer_name, complete.issuer_key):
        return "it is of another CA"
    if (delta.only, delta.points) != (complete.only, complete.points):
        return "it is about other certificates"
    if delta.base_number is None or delta.number is None:
        return "it is no delta CRL"
    if complete.base_number is not None or complete.number is None:
        return "there is no complete list with a number to join it with"
    if delta.base_number > complete.number:
        return f"it adds to list {delta.base_number}, and list {complete.number} is in use"
    if delta.number <= complete.number:
        return f"it says no more than list {complete.number}, which is in use"
    return None


def look_up(
    certificate: Certificate,
    issuer: Certificate,
    lists: Iterable[HeldList],
    now: datetime,
    grace: timedelta,
) -> Answer:
    """Answer for one certificate from all lists of its CA that cover it.

    Raises:
        MalformedCertificate: it cannot be read.
    """
    ids = issuer_ids(issuer)
    held = [each for each in lists if _ids_of(each) == ids]
    covering = [each for each in held if is_covered(certificate, each.complete.header)]
    serial = int(certificate.serial, 16)
    best: Answer | None = None
    for each in covering:
        answer = _look_into(each, serial, now, grace)
        if answer.outcome is Outcome.REVOKED:
            return answer
        if best is None or answer.outcome is Outcome.GOOD:
            best = answer
    return best or _nothing_held(certificate, issuer, has_others=bool(held))


def _ids_of(held: HeldList) -> tuple[str, str]:
    return held.complete.header.issuer_name, held.complete.header.issuer_key


def _nothing_held(certificate: Certificate, issuer: Certificate, *, has_others: bool) -> Answer:
    urls = crl_urls(certificate)
    if urls.usable:
        return Answer(Outcome.UNREACHABLE, f"the CRL at {urls.usable[0]} has not been fetched")
    if urls.refused:
        url, problem = urls.refused[0]
        return Answer(Outcome.NO_SOURCE, f"the CRL at {url} cannot be fetched: {problem}")
    if has_others:
        return Answer(Outcome.NO_SOURCE, f"no CRL of {issuer.subject} covers such certificates")
    return Answer(Outcome.NO_SOURCE, f"there is no CRL of {issuer.subject}")


def is_covered(certificate: Certificate, header: IndexHeader) -> bool:
    """Whether a list is about a certificate (RFC 5280 6.3.3 (b) (2)). Raises MalformedCertificate."""
    if header.only:
        constraints = certificate.extension(x509.BasicConstraints)
        kind = "ca" if constraints is not None and constraints.ca else "user"
        if kind != header.only:
            return False
    if not header.points:
        return True
    points = certificate.extension(x509.CRLDistributionPoints)
    if points is None:
        # RFC 5280 6.3.3, last paragraph: then the issuer's own name is its distribution point
        return point_names([x509.DirectoryName(certificate.x509.issuer)])[0] in header.points
    stated = (
        name
        for point in points
        if not point.crl_issuer and not point.reasons
        for name in point_names(point.full_name or ())
    )
    return not set(header.points).isdisjoint(stated)


def _look_into(held: HeldList, serial: int, now: datetime, grace: timedelta) -> Answer:
    newest, entry = held.complete, None
    if held.delta is not None and delta_fault(held.delta.header, held.complete.header) is None:
        entry = held.delta.find(serial)
        # a stale delta still revokes; otherwise the complete list speaks for itself
        if not _is_stale(held.delta.header, now, grace):
            newest = held.delta
    is_removed = entry is not None and entry.reason == _REMOVED and newest is held.delta
    if entry is None or entry.reason == _REMOVED:
        entry = None if is_removed else held.complete.find(serial)
    return _answer(newest.header, entry, now, grace)


def _is_stale(header: IndexHeader, now: datetime, grace: timedelta) -> bool:
    return now - grace > header.next_update  # added to, 9999-12-31 would overflow


def _answer(header: IndexHeader, entry: Entry | None, now: datetime, grace: timedelta) -> Answer:
    dates = header.this_update, header.next_update
    if entry is not None:
        reason = f"it was revoked on {entry.revoked_at:%Y-%m-%d} ({entry.reason})"
        return Answer(Outcome.REVOKED, reason, *dates, entry.revoked_at)
    if _is_stale(header, now, grace):
        until = f"{header.next_update:%Y-%m-%d %H:%M} UTC"
        return Answer(Outcome.STALE, f"the CRL counted until {until}", *dates)
    return Answer(Outcome.GOOD, "no CRL of its CA lists it", *dates)
