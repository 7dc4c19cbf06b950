"""What a worker sees of the lists: it looks into those of the folder, and never waits for new ones.

Implements `pki.revocation.RevocationSource`. That newer lists are there is told by the supervisor; that a
certificate names an address which nobody may know yet is told to it. Fetches nothing, decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.pki.crl import issuer_ids
from relay.pki.crl_lookup import look_up
from relay.pki.revocation import Answer, Outcome
from relay.pki.revocation_urls import crl_urls, delta_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime, timedelta

    from relay.pki.certificate import Certificate
    from relay.revocation.folder import Held, IssuerIds
    from relay.settings.revocation import RevocationAuthority

    Want = Callable[[Sequence[str], Sequence[str], Certificate], None]

__all__ = ["CrlView"]

_MAX_TOLD: Final = 4096


class CrlView:
    """The lists in force in this process; `replace` swaps them.

    Args:
        grace: how long a list still counts beyond its nextUpdate.
        want: called with the addresses that a known client's certificate names (of complete lists,
            of deltas) and the CA whose lists they are; once a day for each certificate.
        configured: the CAs of `[[revocation.authority]]`: certificates and settings.
    """

    def __init__(
        self,
        grace: timedelta,
        want: Want | None = None,
        configured: Iterable[tuple[Sequence[Certificate], RevocationAuthority]] = (),
    ) -> None:
        self._grace = grace
        self._configured: dict[IssuerIds, str] = {}
        for certificates, settings in configured:
            for place in map(str, (*settings.crl_urls, *settings.crl_files)):
                for ids in map(issuer_ids, certificates):
                    self._configured.setdefault(ids, place)
        self._want = want
        self._held: Held = {}
        self._told: dict[str, date] = {}

    @property
    def name(self) -> str:
        """The word for it."""
        return "crl"

    def replace(self, held: Held) -> bool:
        """Put other lists in force; return whether they are others."""
        if held == self._held:  # an index that has not changed is the same object
            return False
        self._held = held
        return True

    def turns(self) -> list[float]:
        """The moments, as seconds since 1970, when a list ceases to count."""
        grace = self._grace.total_seconds()
        return [
            index.header.next_update.timestamp() + grace
            for lists in self._held.values()
            for each in lists
            for index in each
            if index is not None
        ]

    def status(self, certificate: Certificate, issuer: Certificate, now: datetime) -> Answer:
        """Say what the lists say of a certificate. Raises MalformedCertificate."""
        if self._want is not None and self._told.get(certificate.sha256) != now.date():
            self._tell(certificate, issuer, now.date())
        ids = issuer_ids(issuer)
        lists = self._held.get(ids, ())
        if not lists and ids in self._configured:
            place = self._configured[ids]
            return Answer(Outcome.UNREACHABLE, f"the CRL at {place} has not been fetched")
        return look_up(certificate, issuer, lists, now, self._grace)

    def _tell(self, certificate: Certificate, issuer: Certificate, today: date) -> None:
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told[certificate.sha256] = today
        complete, deltas = crl_urls(certificate).usable, delta_urls(certificate).usable
        if self._want is not None and (complete or deltas):
            self._want(complete, deltas, issuer)
