"""What there is to look after: certificates shown, trusted and issued, identities, revocation lists.

Reads files, and takes what it cannot read as not there: others say that. What is wrong with any of
it is found by `pki.posture`; who is told, is not known here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from relay.ca_folder import CaFolder
from relay.errors import ConfigurationError
from relay.material import read_allowlist
from relay.pki.certificate import Certificate, MalformedCertificate, parse_pem_chain
from relay.pki.crl import issuer_ids
from relay.pki.posture import (
    HeldListDates,
    Issuer,
    Kind,
    Use,
    Used,
    flaws_of_certificate,
    flaws_of_identity,
    flaws_of_issuer,
    flaws_of_list,
)
from relay.revocation.folder import CrlFolder
from relay.revocation.sources import SOURCES_FILE, read_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from relay.material import Material
    from relay.pki.allowlist import Allowlist
    from relay.pki.posture import Flaw

__all__ = ["Posture", "Stock", "measure", "take_stock"]

_MAX_ISSUED = 10_000
"""So many certificates of our own CA are looked at, the newest: reading all of a large CA would take long."""


class Stock(NamedTuple):
    """All there is."""

    certificates: tuple[Used, ...]
    issuers: tuple[Issuer, ...]
    lists: tuple[HeldListDates, ...]
    allowlist: Allowlist


class Posture(NamedTuple):
    """What the metrics say of it: flaws by kind, identities by state, and when things end.

    `certificates` are all but those of clients, of which there may be any number.
    """

    flaws: Mapping[Kind, int]
    identities: Mapping[str, int]
    certificates: tuple[Used, ...]
    lists: tuple[HeldListDates, ...]


def take_stock(material: Material, now: datetime) -> Stock:
    """Collect; the allowlist as it stands on disk now."""
    settings = material.settings
    allowlist = material.allowlist
    with contextlib.suppress(ConfigurationError):  # the one in force stays so; the log says why
        allowlist = read_allowlist(settings.allowlist)[1]
    lists = CrlFolder(settings.state_dir / "crl").read()
    used = [*_shown(material), *_trusted(material), *_of_our_ca(material, allowlist)]
    names = {issuer_ids(each.certificate): each.certificate.subject for each in used}
    dates = tuple(
        HeldListDates(names.get(ids, f"the CA {ids[0][:16]}"), index.header.next_update)
        for ids, held in lists.items()
        for each in held
        for index in each
        if index is not None
    )
    return Stock(tuple(used), tuple(_issuers(material, {*lists}, now)), dates, allowlist)


def measure(stock: Stock, material: Material, now: datetime) -> Posture:
    """Count what is wrong."""
    flaws = Counter(dict.fromkeys(Kind, 0))
    flaws.update(each.kind for each in _flaws(stock, material, now))
    identities = stock.allowlist.identities
    states = Counter({"active": 0, "suspended": 0, "ended": 0})
    for each in identities:
        if each.suspended is not None and not each.suspended.is_over(now):
            states["suspended"] += 1
        elif each.not_after is not None and each.not_after < now:
            states["ended"] += 1
        else:
            states["active"] += 1
    ours = tuple(each for each in stock.certificates if each.use is not Use.ISSUED)
    return Posture(flaws, states, ours, stock.lists)


def _flaws(stock: Stock, material: Material, now: datetime) -> Iterator[Flaw]:
    grace = material.settings.revocation.grace
    for used in stock.certificates:
        yield from flaws_of_certificate(used, now)
    for identity in stock.allowlist.identities:
        yield from flaws_of_identity(identity, now)
    for issuer in stock.issuers:
        yield from flaws_of_issuer(issuer)
    for held in stock.lists:
        yield from flaws_of_list(held, now, grace)


def _shown(material: Material) -> Iterator[Used]:
    """Our own certificates, with the CAs that stand in their files."""
    settings = material.settings
    for listener in settings.listener:
        pairs = material.listeners[listener.name].key_pairs
        for files, pair in zip(listener.certificate, pairs, strict=True):
            yield Used(Use.LISTENER, str(files.chain), pair.chain[0])
            for above in pair.chain[1:]:
                yield Used(Use.AUTHORITY, f"{above.subject} in {files.chain}", above)
    for name, route in settings.route.items():
        shown = material.routes[name].key_pair
        if route.client_certificate is not None and shown is not None:
            yield Used(Use.ROUTE, str(route.client_certificate.chain), shown.chain[0])


def _trusted(material: Material) -> Iterator[Used]:
    """The CAs that the configuration names; not those of the system, which others look after."""
    settings = material.settings
    found: dict[tuple[Use, str], Used] = {}
    for listener in settings.listener:
        for anchor in material.listeners[listener.name].anchors if listener.client_ca else ():
            found[Use.CLIENT_CA, anchor.sha256] = Used(Use.CLIENT_CA, anchor.subject, anchor)
    for name, route in settings.route.items():
        for anchor in material.routes[name].anchors if route.ca else ():
            found[Use.ROUTE_CA, anchor.sha256] = Used(Use.ROUTE_CA, anchor.subject, anchor)
    for authority in material.authorities:
        for each in authority.certificates:
            found[Use.AUTHORITY, each.sha256] = Used(Use.AUTHORITY, each.subject, each)
    yield from found.values()


def _of_our_ca(material: Material, allowlist: Allowlist) -> Iterator[Used]:
    """Our CA, and the newest certificate of each client of it that is still let in by its key."""
    ca = CaFolder(material.settings.ca.folder)
    try:
        yield from (
            Used(Use.CA, each.subject, each) for each in (ca.certificate(), *ca.intermediates())
        )
        records = ca.issued()[-_MAX_ISSUED:]
    except (ConfigurationError, OSError, ValueError):
        return  # there is none, or its folder is none of our business
    newest = {str(each["name"]): each for each in records}
    for name, record in newest.items():
        if allowlist.with_pin(str(record["spki"])) is None:
            continue
        try:
            yield Used(
                Use.ISSUED,
                f'the certificate of "{name}"',
                parse_pem_chain(record["pem"].encode())[0],
            )
        except (MalformedCertificate, ValueError):
            continue


def _issuers(material: Material, held: set[tuple[str, str]], now: datetime) -> Iterator[Issuer]:
    """The CAs whose clients are known by name or chain, with what is known of asking about them."""
    modes = {
        each.sha256: authority.settings.mode
        for authority in material.authorities
        for each in authority.certificates
        if authority.settings.mode is not None
    }
    asked = {issuer_ids(each) for each in _with_sources(material, now)} | held
    ours = _our_ca(material)
    found: dict[str, Issuer] = {}
    for listener in material.settings.listener:
        if listener.client_certificate == "off" or not listener.client_ca:
            continue
        for anchor in material.listeners[listener.name].anchors:
            mode = modes.get(anchor.sha256, listener.revocation)
            # A list of our own CA is for the operator to name, who may as well remove a pin.
            is_known = issuer_ids(anchor) in asked or (mode == "soft" and anchor.sha256 in ours)
            if anchor.sha256 not in found or mode == "hard":
                found[anchor.sha256] = Issuer(anchor, mode, is_known)
    yield from found.values()


def _with_sources(material: Material, now: datetime) -> Iterator[Certificate]:
    """The CAs of which the configuration or a client's certificate has said where to ask."""
    for authority in material.authorities:
        settings = authority.settings
        if settings.crl_files or settings.crl_urls or settings.ocsp_urls:
            yield from authority.certificates
    folder = material.settings.state_dir / "crl"
    for source in read_sources(folder / SOURCES_FILE, now.date()):
        yield from source.issuers


def _our_ca(material: Material) -> set[str]:
    ca = CaFolder(material.settings.ca.folder)
    try:
        return {each.sha256 for each in (ca.certificate(), *ca.intermediates())}
    except (ConfigurationError, OSError):
        return set()
