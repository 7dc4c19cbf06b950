"""What there is to look after: certificates shown, trusted and issued, identities, revocation lists.

Reads files, and takes what it cannot read as not there: others say that. What is wrong with any of
it is found by `pki.posture`; who is told, is not known here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import ConfigurationError
from relay.material import read_allowlist
from relay.pki.crl import issuer_ids
from relay.pki.posture import (
    HeldListDates,
    Issuer,
    Kind,
    Lifespan,
    Use,
    Used,
    flaws_of_certificate,
    flaws_of_identity,
    flaws_of_issuer,
    flaws_of_lifespan,
    flaws_of_list,
)
from relay.revocation.folder import CrlFolder
from relay.revocation.sources import SOURCES_FILE, read_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from relay.ca_folder import CaFolder
    from relay.material import Material
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.pki.posture import Flaw

__all__ = ["Posture", "Stock", "measure", "take_stock"]


class Stock(NamedTuple):
    """All there is."""

    certificates: tuple[Used, ...]
    issued: tuple[Lifespan, ...]
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


def take_stock(material: Material, ca: CaFolder, now: datetime) -> Stock:
    """Collect; the allowlist as it stands on disk now. `ca` is our own, if there is one."""
    settings = material.settings
    allowlist = material.allowlist
    with contextlib.suppress(ConfigurationError):  # the one in force stays so; the log says why
        allowlist = read_allowlist(settings.allowlist)[1]
    lists = CrlFolder(settings.state_dir / "crl").read()
    used = [*_shown(material), *_trusted(material), *_of_our_ca(ca)]
    names = {issuer_ids(each.certificate): each.certificate.subject for each in used}
    dates = tuple(
        HeldListDates(names.get(ids, f"the CA {ids[0][:16]}"), index.header.next_update)
        for ids, held in lists.items()
        for each in held
        for index in each
        if index is not None
    )
    ours = {each.certificate.sha256 for each in used if each.use is Use.CA}
    return Stock(
        tuple(used),
        tuple(_issued(ca, allowlist)),
        tuple(_issuers(material, {*lists}, ours, now)),
        dates,
        allowlist,
    )


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
    return Posture(flaws, states, stock.certificates, stock.lists)


def _flaws(stock: Stock, material: Material, now: datetime) -> Iterator[Flaw]:
    grace = material.settings.revocation.grace
    for used in stock.certificates:
        yield from flaws_of_certificate(used, now)
    for issued in stock.issued:
        yield from flaws_of_lifespan(issued, now)
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


def _of_our_ca(ca: CaFolder) -> Iterator[Used]:
    with contextlib.suppress(ConfigurationError, OSError):  # there is none, or it is none of ours
        for each in (ca.certificate(), *ca.intermediates()):
            yield Used(Use.CA, each.subject, each)


def _issued(ca: CaFolder, allowlist: Allowlist) -> Iterator[Lifespan]:
    """For each identity with keys that our CA has certified, the certificate that ends last."""
    try:
        for identity in allowlist.identities:
            known = [
                each
                for pin in identity.pins
                for each in ca.index.with_key(pin)
                if ca.index.revocation_of(each.serial) is None
            ]
            if known:
                last = max(known, key=lambda each: each.not_after)
                name = f'the certificate of "{identity.name}"'
                yield Lifespan(Use.ISSUED, name, last.not_before, last.not_after)
    except (OSError, ValueError, KeyError):
        return  # the records cannot be read; who writes them will say so


def _issuers(
    material: Material, held: set[tuple[str, str]], ours: set[str], now: datetime
) -> Iterator[Issuer]:
    """The CAs whose clients are known by name or chain, with what is known of asking about them."""
    modes = {
        each.sha256: authority.settings.mode
        for authority in material.authorities
        for each in authority.certificates
        if authority.settings.mode is not None
    }
    asked = {issuer_ids(each) for each in _with_sources(material, now)} | held
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
