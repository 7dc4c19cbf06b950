"""X.509 certificates as the rest of the relay sees them: digests, names, dates, in plain words.

Knows nothing of trust: whether a certificate is good is for `trust.py` to say. Every property is
computed once, when first asked for. RFC 5280.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from relay.errors import GatepostError
from relay.pki.names import canonical_dns, canonical_email, canonical_uri
from relay.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from cryptography.x509 import Certificate as Parsed
    from cryptography.x509 import Extensions

__all__ = [
    "Certificate",
    "MalformedCertificate",
    "parse_pem_chain",
    "shared_certificate",
    "spki_of_der",
    "spki_of_request",
]

_S = TypeVar("_S")
_T = TypeVar("_T")
_E = TypeVar("_E", bound=x509.ExtensionType)

PARSE_FAULTS = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates it cannot read."""


_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)


class MalformedCertificate(GatepostError):
    """Bytes that claim to be a certificate and cannot be read as one."""


class Certificate:
    """One certificate, read lazily: a broken part hurts only whoever asks for it.

    `der`, `sha256` and `spki_sha256` need no understanding of the key or the extensions, so a pin
    matches whatever else a certificate holds. Two certificates are equal if their bytes are.

    Every property but `der` and `sha256` may raise MalformedCertificate.
    """

    __slots__ = ("_cache", "_parsed", "der")

    def __init__(self, source: Parsed | bytes) -> None:
        self._cache: dict[object, Any] = {}
        if isinstance(source, bytes):
            self._parsed: Parsed | None = None
            self.der = source
        else:
            self._parsed = source
            self.der = source.public_bytes(Encoding.DER)

    @property
    def x509(self) -> Parsed:
        """The certificate as `cryptography` has it."""
        if self._parsed is None:
            self._parsed = _readable(_load_der, self.der)
        return self._parsed

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole certificate, in hex."""
        if "sha256" not in self._cache:
            self._cache["sha256"] = hashlib.sha256(self.der).hexdigest()
        return str(self._cache["sha256"])

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo as it stands in the certificate, in hex."""
        if "spki" not in self._cache:
            self._cache["spki"] = hashlib.sha256(_readable(spki_of_der, self.der)).hexdigest()
        return str(self._cache["spki"])

    @property
    def subject(self) -> str:
        """The subject's name, as in RFC 4514."""
        return self._once("subject", lambda parsed: parsed.subject.rfc4514_string())

    @property
    def issuer(self) -> str:
        """The issuer's name, as in RFC 4514."""
        return self._once("issuer", lambda parsed: parsed.issuer.rfc4514_string())

    @property
    def common_name(self) -> str:
        """The last CN of the subject, for people only: no decision hangs on it. "" if none."""
        return self._once("common_name", lambda parsed: read_common_name(parsed.subject))

    @property
    def serial(self) -> str:
        """The serial number in hex, as `openssl x509 -serial` prints it, in lower case."""
        return self._once("serial", _read_serial)

    @property
    def not_before(self) -> datetime:
        """The first moment of validity, UTC."""
        return self._once("not_before", lambda parsed: parsed.not_valid_before_utc)

    @property
    def not_after(self) -> datetime:
        """The last moment of validity, UTC."""
        return self._once("not_after", lambda parsed: parsed.not_valid_after_utc)

    @property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The public key; malformed if of a kind that nobody knows."""
        return self._once("public_key", lambda parsed: parsed.public_key())

    @property
    def signature_hash(self) -> HashAlgorithm | None:
        """The digest that its issuer signed; None for signatures without one (Ed25519)."""
        return self._once("signature_hash", lambda parsed: parsed.signature_hash_algorithm)

    @property
    def names(self) -> tuple[str, ...]:
        """The subject alternative names: "dns:", "uri:", "email:" and "ip:", canonical.

        Other kinds (directory names, user principal names) are left out.
        """
        return self._once("names", read_names)

    @property
    def extensions(self) -> Extensions:
        """The extensions, all of them readable."""
        return self._once("extensions", _read_extensions)

    def extension(self, kind: type[_E]) -> _E | None:
        """One extension by its type, None if the certificate has none such."""
        return _extension(self.extensions, kind)

    def derived(self, derive: Callable[[Certificate], _T]) -> _T:
        """What follows from this certificate and nothing else, computed once; `derive` is pure."""
        if derive not in self._cache:
            self._cache[derive] = derive(self)
        return cast("_T", self._cache[derive])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate sha256={self.sha256[:16]}>"

    def _once(self, key: str, read: Callable[[Parsed], _T]) -> _T:
        if key not in self._cache:
            self._cache[key] = _readable(read, self.x509)
        return cast("_T", self._cache[key])


@remembered(1024, longest=4096)
def shared_certificate(der: bytes) -> Certificate:
    """Return the certificate of these bytes, the one made before if they have been seen lately.

    The same machines come again and again, and hold many connections at a time: what is known of
    their certificates is read once. Only bytes are remembered here, never a decision. Large ones are left
    out, so that strangers cannot fill the memory.
    """
    return Certificate(der)


def _load_der(der: bytes) -> x509.Certificate:
    with _odd_serial_numbers_allowed():
        return x509.load_der_x509_certificate(der)


def _load_pem(block: bytes) -> x509.Certificate:
    with _odd_serial_numbers_allowed():
        return x509.load_pem_x509_certificate(block)


def _read_serial(parsed: x509.Certificate) -> str:
    with _odd_serial_numbers_allowed():
        return f"{parsed.serial_number:x}"


def _read_extensions(parsed: x509.Certificate | x509.CertificateSigningRequest) -> Extensions:
    with _odd_serial_numbers_allowed():  # the issuer's, in the authority key identifier
        return parsed.extensions


@contextmanager
def _odd_serial_numbers_allowed() -> Iterator[None]:
    # RFC 5280 4.1.2.2: be prepared for serial numbers that are zero or negative
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _extension(extensions: Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def read_common_name(name: x509.Name) -> str:
    """The last CN of a name, "" if none."""
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def read_names(parsed: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The subject alternative names, canonical. Raises one of PARSE_FAULTS."""
    found = _extension(_read_extensions(parsed), x509.SubjectAlternativeName)
    names = (_canonical_name(each) for each in found or ())
    return tuple(name for name in names if name)


def _canonical_name(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        return f"dns:{canonical_dns(name.value)}"
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"uri:{canonical_uri(name.value)}"
    if isinstance(name, x509.RFC822Name):
        return f"email:{canonical_email(name.value)}"
    if isinstance(name, x509.IPAddress):
        return f"ip:{name.value}"
    return ""


def _readable(read: Callable[[_S], _T], source: _S) -> _T:
    try:
        return read(source)
    except PARSE_FAULTS as error:
        raise MalformedCertificate(f"the certificate cannot be read: {error}") from error


def parse_pem_chain(pem: bytes) -> tuple[Certificate, ...]:
    """Read every certificate of a PEM file, in its order; text between them is skipped.

    Raises:
        MalformedCertificate: one of them cannot be read. No certificate at all is no error.
    """
    return tuple(Certificate(_readable(_load_pem, each)) for each in _PEM.findall(pem))


def spki_of_der(der: bytes) -> bytes:
    """Cut the SubjectPublicKeyInfo out of a certificate, byte for byte (RFC 5280 4.1).

    Re-encoding a parsed key could change its bytes, and fails for keys nobody knows; a pin must
    do neither.

    Raises:
        ValueError: it is no certificate.
    """
    start, end = _inner(der)
    if der[start : start + 1] == b"\xa0":  # version
        start = _step(der, start, 0xA0)[1]
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):  # serial, signature, issuer, validity, subject
        start = _step(der, start, tag)[1]
    return _element(der, start, end)


def spki_of_request(der: bytes) -> bytes:
    """Cut the SubjectPublicKeyInfo out of a signing request (RFC 2986 4.1). Raises ValueError."""
    start, end = _inner(der)
    for tag in (0x02, 0x30):  # version, subject
        start = _step(der, start, tag)[1]
    return _element(der, start, end)


def _inner(der: bytes) -> tuple[int, int]:
    """Return where the content of the signed part starts and ends."""
    return _step(der, _step(der, 0, 0x30)[0], 0x30)


def _element(der: bytes, start: int, end: int) -> bytes:
    stop = _step(der, start, 0x30)[1]
    if stop > end:
        raise ValueError("the public key is longer than what holds it")
    return der[start:stop]


def _step(der: bytes, position: int, tag: int) -> tuple[int, int]:
    """Return where the content of the element at `position` starts and ends."""
    if position + 2 > len(der) or der[position] != tag:
        raise ValueError("not the structure of a certificate")
    size = der[position + 1]
    start = position + 2
    if size & 0x80:
        digits = size & 0x7F
        size = int.from_bytes(der[start : start + digits], "big")
        start += digits
    if start + size > len(der):
        raise ValueError("a certificate cut short")
    return start, start + size
