"""What is worth saying about trust: CAs, issued certificates and lists near their end, identities that nobody uses.

Reads the audit trail for who has come, and how; what is wrong is decided in `pki.posture`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from relay.audit import query
from relay.ca_folder import CaFolder
from relay.certificate_files import read_system_store
from relay.cli.finding import Finding, finding_of
from relay.errors import ConfigurationError, Unavailable
from relay.inventory import take_stock
from relay.model import TrustStatus
from relay.pki.posture import (
    Use,
    flaws_of_certificate,
    flaws_of_issuer,
    flaws_of_lifespan,
    flaws_of_list,
    needs_client_auth,
    unused_identities,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from relay.inventory import Stock
    from relay.material import Material
    from relay.model import Identity
    from relay.pki.certificate import Certificate

__all__ = ["find_posture"]

_OF_FINDINGS = {Use.LISTENER, Use.ROUTE}
"""Those are looked at where they are named: `findings.py`."""
_HANDSHAKE = b'"kind":"handshake"'


class _Trail(NamedTuple):
    """What the audit trail says of the time since a moment."""

    begins: datetime | None
    last_seen: Mapping[str, datetime]
    last: Mapping[str, query.Record]


def find_posture(material: Material, now: datetime, unused_days: int) -> Iterator[Finding]:
    """Say what is wrong, or will soon be."""
    stock = take_stock(material, CaFolder(material.settings.ca.folder), now)
    for used in stock.certificates:
        if used.use not in _OF_FINDINGS:
            yield from (finding_of(flaw) for flaw in flaws_of_certificate(used, now))
    for issued in stock.issued:
        yield from (finding_of(flaw) for flaw in flaws_of_lifespan(issued, now))
    for issuer in stock.issuers:
        yield from (finding_of(flaw) for flaw in flaws_of_issuer(issuer))
    for held in stock.lists:
        grace = material.settings.revocation.grace
        yield from (finding_of(flaw) for flaw in flaws_of_list(held, now, grace))
    yield from _of_identities(stock, material, now - timedelta(days=unused_days), unused_days)


def _of_identities(
    stock: Stock, material: Material, since: datetime, unused_days: int
) -> Iterator[Finding]:
    identities, path = stock.allowlist.identities, str(material.settings.allowlist)
    public = _public_anchors(material)
    affected = [each for each in identities if needs_client_auth(each, public)]
    if affected:
        yield _of_many(
            path,
            affected,
            "known by name only, of a public CA: once renewed without the usage clientAuth, which such CAs "
            "give up, its certificate will be refused",
            "pin its key: gatepost pin add",
        )
    trail = _read_trail(material.settings.audit.path, since)
    refused = [
        each
        for each in identities
        if trail.last.get(each.name, {}).get("status") == TrustStatus.WRONG_USAGE
    ]
    if refused:
        yield _of_many(
            path,
            refused,
            "came with a certificate that is not for clients, and was refused",
            "pin its key: gatepost pin add",
        )
    # A trail that begins later cannot tell who has not come for so long.
    if trail.begins is not None and trail.begins < since:
        unused = unused_identities(identities, trail.last_seen, since)
        if unused:
            problem = f"has not come for {unused_days} days"
            yield _of_many(path, unused, problem, "remove what nobody needs: gatepost pin remove")


def _of_many(place: str, affected: list[Identity], problem: str, remedy: str) -> Finding:
    more = f" (and {len(affected) - 1} more)" if len(affected) > 1 else ""
    return Finding("warning", place, f'"{affected[0].name}"{more}: {problem}', remedy)


def _public_anchors(material: Material) -> list[Certificate]:
    """The CAs of clients that this system trusts for everything, too."""
    anchors = {
        anchor
        for listener in material.settings.listener
        for anchor in material.listeners[listener.name].anchors
        if listener.client_ca
    }
    try:
        public = {each.sha256 for each in read_system_store()}
    except ConfigurationError:
        return []
    return [each for each in anchors if each.sha256 in public]


def _read_trail(path: Path, since: datetime) -> _Trail:
    """Look through the handshakes since a moment; as much as can be read."""
    begins: datetime | None = None
    last: dict[str, query.Record] = {}
    try:
        for record in query.records(path, containing=_HANDSHAKE):
            at = datetime.fromisoformat(record["time"]).astimezone(UTC)
            begins = begins or at
            if at >= since and "identity" in record:
                last[record["identity"]] = record
    except (Unavailable, KeyError, ValueError):
        pass
    seen = {name: datetime.fromisoformat(each["time"]) for name, each in last.items()}
    return _Trail(begins, seen, last)
