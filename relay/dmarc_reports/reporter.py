"""Sends the reports of the days that are over: one mail a domain and destination (RFC 9990 3).

The mail goes the way that all mail goes, by `[route]`; what next hops refuse for good is dropped, what
they defer is tried again until it is too old to be of use.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable
from relay.mailauth.dmarc_destinations import accepted_destinations
from relay.mailauth.dmarc_record import ReportAddress
from relay.mailauth.dmarc_report import Report, format_report
from relay.mailauth.signing import signed_by
from relay.model import Address, Envelope, Recipient, Sender

if TYPE_CHECKING:
    from relay.dmarc_reports.ledger import Ledger
    from relay.mailauth.keyring import Keyring
    from relay.ports import Clock, NextHop, Resolver
    from relay.settings.mailauth import DmarcReports

__all__ = ["Reporter", "day_of"]

KEPT_DAYS: Final = 3
"""How long it is tried."""
_DAY: Final = timedelta(days=1)


def day_of(moment: datetime) -> int:
    """Number the days, UTC."""
    return int(moment.timestamp()) // 86_400


class Reporter:
    """Tells domains what was seen of their name.

    Args:
        settings: in whose name.
        hostname: ours.
        ledger: what was counted.
        next_hop: the way out.
        resolver: for who wants reports.
        clock: which day it is.
        keyring: whoever reads reports wants them to pass DMARC themselves.
    """

    def __init__(
        self,
        settings: DmarcReports,
        hostname: str,
        *,
        ledger: Ledger,
        next_hop: NextHop,
        resolver: Resolver,
        clock: Clock,
        keyring: Keyring,
    ) -> None:
        self._settings = settings
        self._hostname = hostname
        self._ledger = ledger
        self._next_hop = next_hop
        self._resolver = resolver
        self._clock = clock
        local, _, domain = settings.sender.rpartition("@")
        self._sender = Address(local, domain)
        self._keys = keyring.of_author(domain)
        self._lifetime = keyring.lifetime

    async def send_due(self) -> list[str]:
        """Report the days that are over; return what went wrong, a line each."""
        today = day_of(self._clock.now())
        problems: list[str] = []
        for day, domain in self._ledger.due(today):
            try:
                refusals = await self._report(day, domain)
            except Unavailable as error:
                refusals = []
                problems.append(f"report for {domain}: {error}")
                if today - day <= KEPT_DAYS:
                    continue
            problems += [f"report for {domain}: {each}" for each in refusals]
            self._ledger.forget(day, domain)
        return problems

    async def _report(self, day: int, domain: str) -> list[str]:
        published, rows = self._ledger.read(day, domain)
        begin = datetime.fromtimestamp(day * 86_400, UTC)
        report = Report(published, begin, begin + _DAY, self._hostname, str(self._sender), rows)
        wanted = [ReportAddress(*each) for each in published.report_to]
        refusals = []
        content = format_report(report)
        for destination in await accepted_destinations(domain, wanted, self._resolver):
            message = self._message(report, content, destination)
            limit = min(destination.max_bytes or self._settings.max_bytes, self._settings.max_bytes)
            if len(message) > limit:
                refusals.append(f"{len(message)} bytes are more than {destination.mailbox} takes")
                continue
            if refusal := await self._send(message, destination):
                refusals.append(refusal)
        return refusals

    async def _send(self, message: bytes, destination: ReportAddress) -> str:
        """Hand one over; returns why it was refused for good, "" if it was not."""
        local, _, domain = destination.mailbox.rpartition("@")
        address = Address(local, domain)
        route = self._next_hop.route_for(address, identified=True)
        if route is None:
            return f"no route leads to {destination.mailbox}"
        envelope = Envelope(Sender(self._sender), [Recipient(address)])
        delivery = await self._next_hop.deliver(route, envelope, [message], {})
        if delivery.accepted:
            return ""
        told = f"{destination.mailbox}: {delivery.reply}"
        if delivery.reply.is_transient:
            raise Unavailable(told)
        return told

    def _message(self, report: Report, content: bytes, destination: ReportAddress) -> bytes:
        made = EmailMessage(policy=SMTP)
        made["From"] = str(self._sender)
        made["To"] = destination.mailbox
        made["Subject"] = report.subject
        made["Date"] = self._clock.now()
        made["Message-ID"] = f"<{report.unique_id}.{report.published.domain}@{self._hostname}>"
        made["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: nobody should answer
        made.set_content(
            f"What {self._hostname} has seen of mail in the name of {report.published.domain},"
            f" {report.begin:%Y-%m-%d} (UTC).\n"
        )
        made.add_attachment(
            content, maintype="application", subtype="gzip", filename=report.filename
        )
        return signed_by(self._keys, made.as_bytes(), self._clock.now(), self._lifetime)
