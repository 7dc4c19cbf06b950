"""What is weak, old or about to end among certificates, identities and revocation lists: findings as values.

Pure: values and the time come in, flaws go out. Knows neither files nor who is told (`gatepost check` and
the metrics). RFC 5280.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from relay.pki.links import has_weak_signature, is_self_issued, is_weak_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.model import Identity
    from relay.pki.certificate import Certificate

__all__ = [
    "OLD",
    "Flaw",
    "HeldListDates",
    "Issuer",
    "Kind",
    "Lifespan",
    "Use",
    "Used",
    "flaws_of_certificate",
    "flaws_of_identity",
    "flaws_of_issuer",
    "flaws_of_lifespan",
    "flaws_of_list",
    "key_in_words",
    "needs_client_auth",
    "unused_identities",
]

SOON: Final = timedelta(days=30)
OLD: Final = timedelta(days=2 * 365)
"""So long a key should not be in use; that of a CA may be."""


class Use(StrEnum):
    """What a certificate is for here: metric label, too."""

    LISTENER = "listener"
    ROUTE = "route"
    CLIENT_CA = "client_ca"
    ROUTE_CA = "route_ca"
    AUTHORITY = "authority"
    CA = "ca"
    ISSUED = "issued"


_CAS: Final = frozenset({Use.CLIENT_CA, Use.ROUTE_CA, Use.AUTHORITY, Use.CA})


_REMEDIES: Final = {
    Use.ISSUED: "gatepost cert renew, or let its holder enrol",
}


class Kind(StrEnum):
    """What is wrong: metric label, too."""

    EXPIRED = "expired"
    EXPIRING = "expiring"
    OLD_KEY = "old_key"
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    IDENTITY_ENDED = "identity_ended"
    IDENTITY_ENDING = "identity_ending"
    NO_REVOCATION_SOURCE = "no_revocation_source"
    STALE_LIST = "stale_list"


class Used(NamedTuple):
    """A certificate that this relay shows or trusts; `name` says which to people."""

    use: Use
    name: str
    certificate: Certificate


class Lifespan(NamedTuple):
    """The dates of a certificate; `name` says which to people."""

    use: Use
    name: str
    not_before: datetime
    not_after: datetime


class Flaw(NamedTuple):
    """One thing that is wrong."""

    kind: Kind
    problem: str
    remedy: str


class Issuer(NamedTuple):
    """A CA that vouches for clients: what its mode is, and whether anything says where to ask about them."""

    certificate: Certificate
    mode: str
    has_source: bool


class HeldListDates(NamedTuple):
    """A revocation list that is held: whose it is, for people, and until when it counts."""

    issuer: str
    next_update: datetime


def flaws_of_certificate(used: Used, now: datetime) -> Iterator[Flaw]:
    """Look at a certificate. Raises MalformedCertificate."""
    name, certificate = used.name, used.certificate
    lifespan = Lifespan(used.use, name, certificate.not_before, certificate.not_after)
    yield from flaws_of_lifespan(lifespan, now)
    if is_weak_key(certificate.public_key):
        what = key_in_words(certificate)
        yield Flaw(
            Kind.WEAK_KEY,
            problem=f"{name} has {what}",
            remedy="replace it: EC P-256, or RSA with 3072 bits",
        )
    # Nobody verifies the signature of what is trusted as it is.
    if not is_self_issued(certificate) and has_weak_signature(certificate):
        yield Flaw(
            Kind.WEAK_SIGNATURE,
            problem=f"{name} is signed over MD5 or SHA-1, which proves nothing",
            remedy="have it issued anew",
        )


def flaws_of_lifespan(used: Lifespan, now: datetime) -> Iterator[Flaw]:
    """Look at the dates of a certificate."""
    remedy = _REMEDIES.get(used.use, "get the CA's new one" if used.use in _CAS else "renew it")
    left = used.not_after - now
    # What holds for hours or days by design is renewed in its last third.
    lifetime = used.not_after - used.not_before
    until = f"{used.not_after:%Y-%m-%d}"
    if left < timedelta():
        problem = f"{used.name} expired on {until}"
        yield Flaw(Kind.EXPIRED, problem, remedy)
    elif left < min(SOON, lifetime / 3):
        ends = f"{used.name} expires on {until}, in {_in_words(left)}"
        yield Flaw(Kind.EXPIRING, ends, remedy)
    if used.use not in _CAS and now - used.not_before > OLD:
        years = (now - used.not_before).days // 365
        yield Flaw(
            Kind.OLD_KEY,
            problem=f"{used.name} has been in use for {years} years",
            remedy="renew it, with a new key",
        )


def flaws_of_identity(identity: Identity, now: datetime) -> Iterator[Flaw]:
    """Look at the dates of an identity, and with them of its pins."""
    if identity.not_after is None:
        return
    left = identity.not_after - now
    if left <= timedelta():
        yield Flaw(
            Kind.IDENTITY_ENDED,
            problem="has ended",
            remedy="renew its not_after, or remove it",
        )
    elif left < SOON:
        yield Flaw(Kind.IDENTITY_ENDING, "ends soon", "renew its not_after")


def needs_client_auth(identity: Identity, issuers: Iterable[Certificate]) -> bool:
    """Whether it is known by names alone, of CAs (public ones) that issue clientAuth no more.

    Once its certificate is renewed without that usage, it will be refused: a pin is what helps.
    """
    return bool(identity.names) and not identity.pins and any(True for _ in issuers)


def unused_identities(
    identities: Iterable[Identity], last_seen: Mapping[str, datetime], since: datetime
) -> list[Identity]:
    """Those who may come, and have not come since a moment."""
    return [
        each
        for each in identities
        if each.suspended is None
        and (each.not_before is None or each.not_before <= since)
        and (each.not_after is None or each.not_after > since)
        and (each.name not in last_seen or last_seen[each.name] < since)
    ]


def flaws_of_issuer(issuer: Issuer) -> Iterator[Flaw]:
    """Say if nobody can be asked about the clients of a CA although it is wanted."""
    if issuer.mode == "off" or issuer.has_source:
        return
    so = ": its clients are deferred" if issuer.mode == "hard" else ""
    yield Flaw(
        Kind.NO_REVOCATION_SOURCE,
        f"nothing is known that tells who of {issuer.certificate.subject} is revoked, unless its "
        f"certificates do{so}",
        'add a `[[revocation.authority]]` with its list or responder, or with mode = "off"',
    )


def flaws_of_list(held: HeldListDates, now: datetime, grace: timedelta) -> Iterator[Flaw]:
    """Say if a list that is held does not count any more."""
    if now - grace > held.next_update:
        yield Flaw(
            Kind.STALE_LIST,
            problem=f"the revocation list of {held.issuer} counted until "
            f"{held.next_update:%Y-%m-%d %H:%M} UTC",
            remedy="see that the relay can fetch a newer one, or put it into its file",
        )


def key_in_words(certificate: Certificate) -> str:
    """Say what kind of key it has. Raises MalformedCertificate."""
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        return f"an RSA key of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key of {key.key_size} bits"
    return "a DSA key" if isinstance(key, dsa.DSAPublicKey) else "a key of another kind"


def _in_words(left: timedelta) -> str:
    return f"{left.days} days" if left.days else f"{left.seconds // 3600} hours"
