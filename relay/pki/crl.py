"""A certificate revocation list: what it says of itself, and whether it may be believed.

Bytes and a time come in; knows nothing of files, of fetching or of the certificates it lists. The
entries are left where they lie until someone scans them (`crl_entries.py`): the list without them is
small, and that is what `cryptography` reads. RFC 5280 5 and 6.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding

from relay.errors import GatepostError
from relay.pki.certificate import PARSE_FAULTS, MalformedCertificate
from relay.pki.crl_entries import scan_entries
from relay.pki.der import (
    BIT_STRING,
    GENERALIZED_TIME,
    INTEGER,
    SEQUENCE,
    UTC_TIME,
    read_element,
    read_end,
    wrap,
)
from relay.pki.revocation_urls import RevocationUrls, point_names, urls_of_points
from relay.pki.serial_index import IndexHeader, build_index
from relay.pki.signatures import is_broken_hash, is_signed_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from relay.pki.certificate import Certificate

__all__ = [
    "CertificateList",
    "MalformedCrl",
    "Scope",
    "check_crl",
    "index_crl",
    "issuer_ids",
    "parse_crl",
    "parse_crls",
]

_E = TypeVar("_E", bound=x509.ExtensionType)

MAX_CRL_BYTES: Final = 128 * 1024**2
"""Room for some three million entries; the largest public CRLs have had one million."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far ahead a CA's clock may be."""

_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----(.+?)-----END X509 CRL-----", re.DOTALL)
_EXPLICIT_0: Final = 0xA0
_KNOWN_EXTENSIONS: Final = (
    x509.AuthorityKeyIdentifier,
    x509.IssuerAlternativeName,
    x509.CRLNumber,
    x509.DeltaCRLIndicator,
    x509.IssuingDistributionPoint,
    x509.FreshestCRL,
    x509.AuthorityInformationAccess,
)


class MalformedCrl(GatepostError):
    """Bytes that claim to be a CRL and cannot be read as one."""


class Scope(NamedTuple):
    """Which certificates a list is about (RFC 5280 5.2.5).

    `only` is "user", "ca" or "attribute"; `points` are the distribution points it is published
    at, () for all certificates of the CA.
    """

    only: str = ""
    points: tuple[str, ...] = ()
    has_some_reasons_only: bool = False
    is_indirect: bool = False
    is_relative: bool = False


class _Parts(NamedTuple):
    """Where the pieces of a list lie in its bytes; `head` is the list without its entries."""

    signed: tuple[int, int]
    entries: tuple[int, int]
    signature: bytes
    head: bytes


class CertificateList:
    """One CRL, complete or delta, its entries not yet looked at. Made by `parse_crl`.

    `next_update` is None where the list does not say. `number` is the CRL number, `base_number`
    makes it a delta to that list (RFC 5280 5.2.4).
    """

    __slots__ = (
        "_data",
        "_head",
        "_parts",
        "base_number",
        "delta_urls",
        "issuer",
        "next_update",
        "number",
        "scope",
        "this_update",
        "unknown_critical",
    )

    def __init__(self, data: bytes, parts: _Parts, head: x509.CertificateRevocationList) -> None:
        extensions = head.extensions
        self._data, self._parts, self._head = data, parts, head
        self.issuer = head.issuer
        self.this_update = head.last_update_utc
        self.next_update = head.next_update_utc
        number = _extension(extensions, x509.CRLNumber)
        base = _extension(extensions, x509.DeltaCRLIndicator)
        self.number = number.crl_number if number else None
        self.base_number = base.crl_number if base else None
        self.scope = _read_scope(_extension(extensions, x509.IssuingDistributionPoint))
        self.delta_urls: RevocationUrls = urls_of_points(
            _extension(extensions, x509.FreshestCRL) or ()
        )
        self.unknown_critical = tuple(
            each.oid.dotted_string
            for each in extensions
            if each.critical and not isinstance(each.value, _KNOWN_EXTENSIONS)
        )

    @property
    def is_delta(self) -> bool:
        """Whether it only says what has changed since another list."""
        return self.base_number is not None

    @property
    def size_bytes(self) -> int:
        """The size of the list in DER."""
        return len(self._data)

    @property
    def has_broken_hash(self) -> bool:
        """Whether it is signed over MD5 or SHA-1."""
        return is_broken_hash(self._head.signature_hash_algorithm)

    def is_signed_by(self, key: CertificatePublicKeyTypes) -> bool:
        """Verify the signature; reads every byte."""
        start, end = self._parts.signed
        signed = memoryview(self._data)[start:end]
        parameters = self._head.signature_algorithm_parameters
        rsa_padding = parameters if isinstance(parameters, padding.AsymmetricPadding) else None
        algorithm = self._head.signature_hash_algorithm
        return is_signed_by(key, self._parts.signature, signed, algorithm, rsa_padding)

    def records(self) -> Iterator[bytes]:
        """Scan the entries, as records of `serial_index`.

        Raises:
            MalformedCrl: an entry cannot be read, or is of an indirect CRL, or has a critical
                extension that is not known (RFC 5280 5.3: then none of the list may be used).
        """
        try:
            yield from scan_entries(self._data, *self._parts.entries)
        except ValueError as error:
            raise MalformedCrl(f"the CRL cannot be used: {error}") from error


# --- reading --------------------------------------------------------------------------------


def parse_crl(data: bytes, max_bytes: int = MAX_CRL_BYTES) -> CertificateList:
    """Read one CRL, DER or PEM.

    Raises:
        MalformedCrl: it is none, it is larger than `max_bytes`, or there are several.
    """
    found = parse_crls(data, max_bytes)
    if len(found) != 1:
        raise MalformedCrl(f"{len(found)} CRLs where one belongs")
    return found[0]


def parse_crls(data: bytes, max_bytes: int = MAX_CRL_BYTES) -> tuple[CertificateList, ...]:
    """Read one CRL in DER, or all that are in a PEM file, in their order.

    Raises:
        MalformedCrl: one of them cannot be read, there is none, or it is all too large.
    """
    if len(data) > max_bytes:
        raise MalformedCrl(f"the CRL is larger than {max_bytes} bytes")
    if data[:1] == b"\x30":
        return (_parse_der(data),)
    blocks = _PEM.findall(data)
    if not blocks:
        raise MalformedCrl("it is no CRL, neither in DER nor in PEM")
    try:
        return tuple(_parse_der(base64.b64decode(each)) for each in blocks)
    except binascii.Error as error:
        raise MalformedCrl("the CRL's base64 is damaged") from error


def _parse_der(data: bytes) -> CertificateList:
    try:
        parts = _cut(data)
        return CertificateList(data, parts, x509.load_der_x509_crl(parts.head))
    except PARSE_FAULTS as error:
        raise MalformedCrl(f"the CRL cannot be read: {error}") from error


def _cut(data: bytes) -> _Parts:
    """Find the pieces of a list. Raises ValueError."""
    whole = read_element(data, 0, len(data), SEQUENCE)
    read_end(whole, len(data))
    signed = read_element(data, whole.content, whole.end, SEQUENCE)
    algorithm = read_element(data, signed.end, whole.end, SEQUENCE)
    signature = read_element(data, algorithm.end, whole.end, BIT_STRING)
    read_end(signature, whole.end)
    start, stop, end = _find_entries(data, signed.content, signed.end)
    head = wrap(
        SEQUENCE,
        wrap(SEQUENCE, data[signed.content : start], data[end : signed.end]),
        data[algorithm.start : signature.end],
    )
    if data[signature.content : signature.content + 1] != b"\0":
        raise ValueError("a signature with unused bits")
    value = data[signature.content + 1 : signature.end]
    return _Parts((signed.start, signed.end), (stop, end), value, head)


def _find_entries(data: bytes, start: int, limit: int) -> tuple[int, int, int]:
    """Return where revokedCertificates starts, where its content does, and where it ends."""
    position = start
    if data[position : position + 1] == bytes((INTEGER,)):  # version
        position = read_element(data, position, limit).end
    for _field in ("signature", "issuer"):
        position = read_element(data, position, limit, SEQUENCE).end
    position = read_element(data, position, limit).end  # thisUpdate
    if position < limit and data[position] in {UTC_TIME, GENERALIZED_TIME}:  # nextUpdate
        position = read_element(data, position, limit).end
    if position == limit or data[position] == _EXPLICIT_0:
        return position, position, position
    entries = read_element(data, position, limit, SEQUENCE)
    return entries.start, entries.content, entries.end


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _read_scope(point: x509.IssuingDistributionPoint | None) -> Scope:
    if point is None:
        return Scope()
    only = {
        "user": point.only_contains_user_certs,
        "ca": point.only_contains_ca_certs,
        "attribute": point.only_contains_attribute_certs,
    }
    return Scope(
        only=" ".join(kind for kind, is_stated in only.items() if is_stated),
        points=point_names(point.full_name or ()),
        has_some_reasons_only=point.only_some_reasons is not None,
        is_indirect=point.indirect_crl,
        is_relative=point.relative_name is not None,
    )


# --- believing ------------------------------------------------------------------------------


def check_crl(
    crl: CertificateList,
    issuer: Certificate,
    now: datetime,
    *,
    grace: timedelta = timedelta(0),
    previous: IndexHeader | None = None,
) -> str | None:
    """Say why a list must not be used, None if it may.

    Args:
        crl: the list.
        issuer: the certificate of the CA that should have made it.
        now: the time to judge by.
        grace: how long beyond its nextUpdate it still counts.
        previous: what of the same CA and scope is in use: an older list does not replace it.
    """
    try:
        return (
            _fault_of_kind(crl)
            or _fault_of_issuer(crl, issuer)
            or _fault_of_dates(crl, now, grace)
            or _fault_of_age(crl, previous)
        )
    except MalformedCertificate:
        return "the CA's certificate cannot be read"


def _fault_of_kind(crl: CertificateList) -> str | None:
    if crl.unknown_critical:
        # RFC 5280 5.2: then it must not be used to say that a certificate is good
        return f"it has a critical extension that is not known ({crl.unknown_critical[0]})"
    if crl.scope.is_indirect:
        return "it is an indirect CRL, which may speak for other CAs: not accepted"
    if crl.scope.has_some_reasons_only:
        return "it covers some reasons for revocation only: not accepted"
    if crl.scope.is_relative:
        return "its distribution point is named relative to its issuer: not accepted"
    if crl.scope.only not in {"", "user", "ca"}:
        return "it is not about the certificates of TLS clients or their CAs"
    if crl.next_update is None:
        return "it does not say until when it counts (nextUpdate)"  # RFC 5280 5.1.2.5
    if crl.is_delta and crl.number is None:
        return "it is a delta CRL without a number"  # RFC 5280 5.2.3
    return None


def _fault_of_issuer(crl: CertificateList, issuer: Certificate) -> str | None:
    if crl.issuer != issuer.x509.subject:
        return f"it is of another CA: {crl.issuer.rfc4514_string()}"
    usage = issuer.extension(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return "the CA may not sign CRLs, says its key usage"  # RFC 5280 6.3.3 (f)
    if crl.has_broken_hash:
        return "it is signed with a broken digest (MD5 or SHA-1)"
    if not crl.is_signed_by(issuer.public_key):
        return "its signature is wrong, or of another key of that CA"
    return None


def _fault_of_dates(crl: CertificateList, now: datetime, grace: timedelta) -> str | None:
    if crl.this_update > now + CLOCK_SKEW:
        return f"it is from the future: {crl.this_update:%Y-%m-%d %H:%M} UTC"
    if crl.next_update is not None and now - grace > crl.next_update:
        return f"it is stale: it counted until {crl.next_update:%Y-%m-%d %H:%M} UTC"
    return None


def _fault_of_age(crl: CertificateList, previous: IndexHeader | None) -> str | None:
    """RFC 5280 5.2.3: numbers only go up; who has shown one may not go back, nor leave it out."""
    if previous is None:
        return None
    if previous.number is not None:
        if crl.number is None:
            return f"it has no number, and list {previous.number} is in use"
        if crl.number < previous.number:
            return f"it is list {crl.number}, and the newer list {previous.number} is in use"
    if crl.this_update < previous.this_update:
        return f"it is older than the one in use, of {previous.this_update:%Y-%m-%d %H:%M} UTC"
    return None


# --- indexing -------------------------------------------------------------------------------


def issuer_ids(issuer: Certificate) -> tuple[str, str]:
    """Say whose a list is: SHA-256, in hex, of the CA's name and of its public key."""
    name = hashlib.sha256(issuer.x509.subject.public_bytes()).hexdigest()
    return name, issuer.spki_sha256


def index_crl(crl: CertificateList, issuer: Certificate) -> bytes:
    """Make the index of a list that `check_crl` has nothing against. Raises MalformedCrl."""
    if crl.next_update is None:
        raise MalformedCrl("the CRL does not say until when it counts")
    name, key = issuer_ids(issuer)
    header = IndexHeader(
        issuer_name=name,
        issuer_key=key,
        this_update=crl.this_update,
        next_update=crl.next_update,
        number=crl.number,
        base_number=crl.base_number,
        only=crl.scope.only,
        points=crl.scope.points,
    )
    return build_index(header, crl.records())
