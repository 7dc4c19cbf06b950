"""Enrolment with our CA: from an invitation or a current certificate to the next one, and its pin.

The invitation or the current certificate says what is granted; the request only brings its key, and may
not wish for more. Knows nothing of HTTP. RFC 7030 4.2.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from relay.allowlist_file import add_pins, read_allowlist
from relay.ca_folder import BACKDATED
from relay.errors import ConfigurationError, Unavailable
from relay.invitations import Invitation, Invitations
from relay.pinning import prepare_pinning
from relay.pki.est import Request, excess_of, parse_request
from relay.pki.issuing import Subject, Validity
from relay.pki.pins import format_pin, pin_of
from relay.renewal import subject_of
from relay.succession import end_pins, publish_successor

if TYPE_CHECKING:
    from pathlib import Path

    from relay.ca_folder import CaFolder
    from relay.model import Identity
    from relay.pki.allowlist import Allowlist
    from relay.pki.certificate import Certificate
    from relay.policy.restrictions import Restrictions

__all__ = ["Denial", "Denied", "Enrolled", "Enrolment"]

MAX_LIVE_CERTIFICATES: Final = 10
"""Of one name: who renews in a loop fills neither our records nor the allowlist."""


class Denial(StrEnum):
    """Why there is no certificate: who asks, what is asked for, or that it may not be."""

    CREDENTIALS = "credentials"
    REQUEST = "request"
    FORBIDDEN = "forbidden"


class Denied(NamedTuple):
    """A no: `reason` may be told, `detail` is for the audit."""

    denial: Denial
    reason: str
    detail: str = ""


class Enrolled(NamedTuple):
    """A yes: the certificate with those above it, the identity that has its pin, and that pin."""

    chain: tuple[Certificate, ...]
    identity: str
    pin: str


class Enrolment:
    """Signs for who may have a certificate. One call at a time.

    Args:
        ca: our CA.
        allowlist: gets the pins.
        lifetime: how long a renewed certificate holds at most.
        passphrase: of the CA's key.
        restrictions: who is suspended, and which keys are revoked, beside allowlist and records.
    """

    def __init__(
        self,
        ca: CaFolder,
        allowlist: Path,
        lifetime: timedelta,
        passphrase: bytes | None,
        restrictions: Restrictions,
    ) -> None:
        self._ca = ca
        self._allowlist = allowlist
        self._lifetime = lifetime
        self._passphrase = passphrase
        self._restrictions = restrictions
        self._invitations = Invitations(ca.folder)

    def ca_certificates(self) -> tuple[Certificate, ...]:
        """What a client has to trust, the root last. Raises ConfigurationError, OSError."""
        return (*self._ca.intermediates(), self._ca.certificate())

    def enrol(self, name: str, token: str, body: bytes) -> Enrolled | Denied:
        """Sign the first certificate of who was invited; the answer can be asked for again.

        Raises:
            ConfigurationError: the CA cannot sign, or the allowlist has mistakes. The token is still good,
                unless the pin could not be added.
            OSError: a file cannot be read or written.
            Unavailable: nobody knows who is suspended.
        """
        invitation = self._invitations.find(name, token, _now())
        if invitation is None:
            return _NOT_INVITED
        identity = read_allowlist(self._allowlist).find(name)
        if identity is None and (invitation.identity is None or invitation.is_kept):
            return _forbidden("the identity is not known any more")
        if identity is not None and (denied := self._fault_of_identity(identity)):
            return denied
        request = _read(body, invitation.subject)
        if isinstance(request, Denied):
            return request
        return self._enrol(invitation, request, identity)

    def reenrol(self, current: Certificate, body: bytes) -> Enrolled | Denied:
        """Sign the successor of a certificate that has proved to be held by who asks. Raises as `enrol`."""
        if denied := self._fault_of_current(current):
            return denied
        identity = _identity_with(read_allowlist(self._allowlist), current)
        if identity is None:
            return _forbidden("nobody is known by this certificate")
        if denied := self._fault_of_identity(identity):
            return denied
        subject = subject_of(current)
        request = _read(body, subject)
        if isinstance(request, Denied):
            return request
        if denied := self._fault_of_key(request, identity.name, subject):
            return denied
        old = current.not_after - current.not_before - BACKDATED
        new = self._issue(subject, request, min(old, self._lifetime))
        pinned = publish_successor(self._allowlist, current, new)
        if pinned is not None:
            end_pins(self._allowlist, pinned, self._ca.index.end_of, _now())
        return Enrolled(self._ca.chain(new), identity.name, format_pin(pin_of(new)))

    def _enrol(
        self, invitation: Invitation, request: Request, identity: Identity | None
    ) -> Enrolled | Denied:
        name = invitation.subject.common_name
        if denied := self._fault_of_key(request, name, invitation.subject):
            return denied
        self._ca.issuer(self._passphrase)  # what cannot be signed uses no token up
        if not self._invitations.claim(invitation, request.spki_sha256):
            return _NOT_INVITED
        new = self._issued_before(invitation, request) or self._issue(
            invitation.subject, request, invitation.lifetime
        )
        pin = format_pin(pin_of(new))
        if (
            invitation.is_kept
        ):  # who asks again gets the answer again, not what was taken away since
            if identity is None or pin not in identity.pins:
                return _forbidden("the key is not let in any more")
            return Enrolled(self._ca.chain(new), name, pin)
        if identity is None:
            prepare_pinning(self._allowlist, name, invitation.identity or {}).add([pin])
        elif pin not in identity.pins:
            add_pins(self._allowlist, name, [pin])
        self._invitations.keep(invitation)
        return Enrolled(self._ca.chain(new), name, pin)

    def _issued_before(self, invitation: Invitation, request: Request) -> Certificate | None:
        """What this token has brought this key already, if the answer was lost on its way."""
        if invitation.spki != request.spki_sha256:
            return None
        name = invitation.subject.common_name
        known = self._ca.index.with_key(f"spki:sha256:{invitation.spki}")
        found = next((each for each in reversed(known) if each.name == name), None)
        return self._ca.find_serial(found.serial) if found else None

    def _issue(self, subject: Subject, request: Request, lifetime: timedelta) -> Certificate:
        now = _now()
        validity = Validity(now - BACKDATED, now + lifetime)
        return self._ca.issue(subject, request.key, validity, self._passphrase)

    def _fault_of_current(self, current: Certificate) -> Denied | None:
        """Whether it is one of ours that still holds; TLS has seen its chain, not our records."""
        known = self._ca.index.find(current.serial)
        pem = current.x509.public_bytes(Encoding.PEM)
        if known is None or known.pem_sha256 != hashlib.sha256(pem).digest():
            return _forbidden("not a certificate of this CA")
        pins = (format_pin(pin_of(current, kind)) for kind in ("spki", "cert"))
        if self._ca.index.revocation_of(current.serial) or any(map(self._is_revoked, pins)):
            return _forbidden("the certificate is revoked")
        if not current.not_before <= _now() <= current.not_after:
            return _forbidden("the certificate is not valid now")
        return None

    def _fault_of_key(self, request: Request, identity: str, subject: Subject) -> Denied | None:
        """A key that is another's, or of a certificate that was revoked, is not certified; nor too many."""
        spki = f"spki:sha256:{request.spki_sha256}"
        owner = read_allowlist(self._allowlist).with_pin(spki)
        if owner is not None and owner.name != identity:
            return _forbidden("the key is another identity's", f"it is a pin of {owner.name}")
        index = self._ca.index
        revoked = any(index.revocation_of(each.serial) for each in index.with_key(spki))
        if revoked or self._is_revoked(spki):
            return _forbidden("a certificate with this key was revoked; make another key")
        now = _now()
        live = sum(each.not_after > now for each in index.with_name(subject.common_name))
        if live >= MAX_LIVE_CERTIFICATES:
            return _forbidden(f"there are {live} valid certificates of this name already")
        return None

    def _fault_of_identity(self, identity: Identity) -> Denied | None:
        now = _now()
        is_suspended = identity.suspended is not None and not identity.suspended.is_over(now)
        if is_suspended or self._known_restrictions().suspended(identity.name):
            return _forbidden("the identity is suspended")
        if identity.not_after is not None and now > identity.not_after:
            return _forbidden("the identity has ended")
        return None

    def _is_revoked(self, pin: str) -> bool:
        return self._known_restrictions().revoked(pin) is not None

    def _known_restrictions(self) -> Restrictions:
        if not self._restrictions.is_known:
            raise Unavailable("the state is away: nobody knows who is suspended")
        return self._restrictions


_NOT_INVITED: Final = Denied(
    Denial.CREDENTIALS, "no such invitation, or it has been used or has ended"
)


def _forbidden(reason: str, detail: str = "") -> Denied:
    return Denied(Denial.FORBIDDEN, reason, detail)


def _read(body: bytes, granted: Subject) -> Request | Denied:
    try:
        request = parse_request(body)
    except ConfigurationError as error:
        reason = "no signing request (PKCS #10 in base64) that proves a strong key"
        return Denied(Denial.REQUEST, reason, error.problem)
    if excess := excess_of(request.wish, granted):
        return Denied(Denial.REQUEST, f"more is asked for than is granted: {excess}")
    return request


def _identity_with(allowlist: Allowlist, certificate: Certificate) -> Identity | None:
    for kind in ("spki", "cert"):
        if found := allowlist.with_pin(format_pin(pin_of(certificate, kind))):
            return found
    known = (allowlist.with_name(name) for name in certificate.names)
    return next((each for each in known if each is not None), None)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
