"""Who may be sent a domain's reports: itself, and whoever says in the DNS that they want them (RFC 9990 4).

Without this, a record could have a stranger's mailbox flooded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.mailauth.dmarc import dns_name, is_same_organization
from relay.mailauth.dmarc_record import ReportAddress, parse_dmarc_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.ports import Resolver

__all__ = ["accepted_destinations"]

_MAX_NAME: Final = 253


async def accepted_destinations(
    policy_domain: str, wanted: Iterable[ReportAddress], resolver: Resolver
) -> tuple[ReportAddress, ...]:
    """Return the addresses that reports on a domain may go to, each once.

    Args:
        policy_domain: where the record was found.
        wanted: what it asks for.
        resolver: for who agrees.

    Raises:
        Unavailable: the DNS does not say for now.
    """
    accepted: dict[str, ReportAddress] = {}
    for address in wanted:
        for each in await _agreed(policy_domain, address, resolver):
            accepted.setdefault(each.mailbox.lower(), each)
    return tuple(accepted.values())


async def _agreed(
    policy_domain: str, address: ReportAddress, resolver: Resolver
) -> tuple[ReportAddress, ...]:
    host = dns_name(address.domain)
    if not host:
        return ()
    if await is_same_organization(policy_domain, host, resolver):
        return (address,)
    name = f"{policy_domain}._report._dmarc.{host}"
    if len(name) > _MAX_NAME:  # RFC 9990 4
        return ()
    answer = await resolver.resolve(name, "TXT")
    records = [found for text in answer.records if (found := parse_dmarc_record(text))]
    if not records:
        return ()
    others = [each for record in records for each in record.report_to]
    if not others:
        return (address,)
    if any(each.domain != host for each in others):  # it may say where at its own place, no more
        return ()
    return tuple(others)
