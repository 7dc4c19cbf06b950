"""Pins: the digest of a public key (SPKI) or of a whole certificate, in every spelling in use.

Knows nothing of identities or of trust. A pin always says which of the two it is; a bare
"sha256:..." is refused, for guessing wrong would lock a partner out. RFC 7469 2.4 (SPKI digests).
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from relay.errors import ConfigurationError
from relay.pki.certificate import (
    Certificate,
    MalformedCertificate,
    parse_pem_chain,
    spki_of_request,
)

__all__ = ["Pin", "PinKind", "format_pin", "parse_pin", "pin_forms", "pin_of", "pin_of_pem"]

PinKind = Literal["spki", "cert"]

_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_HEX_WITH_COLONS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_FORM = 'write it as "spki:sha256:<digest>" or "cert:sha256:<digest>"'


class Pin(NamedTuple):
    """`kind` says what was hashed, `digest` is 64 lower-case hex digits."""

    kind: PinKind
    digest: str

    def __str__(self) -> str:
        return format_pin(self)


def format_pin(pin: Pin) -> str:
    """The canonical spelling, as `Identity.pins` has it: "spki:sha256:<64 hex>"."""
    return f"{pin.kind}:sha256:{pin.digest}"


def pin_forms(pin: Pin) -> dict[str, str]:
    """The three spellings: `base64` (as in RFC 7469), `hex`, and `colons` (as OpenSSL and Postfix)."""
    raw = bytes.fromhex(pin.digest)
    prefix = f"{pin.kind}:sha256:"
    return {
        "base64": prefix + base64.b64encode(raw).decode(),
        "hex": prefix + pin.digest,
        "colons": prefix + raw.hex(":").upper(),
    }


def pin_of(certificate: Certificate, kind: PinKind = "spki") -> Pin:
    """The pin of a certificate. Raises MalformedCertificate."""
    return Pin(kind, certificate.sha256 if kind == "cert" else certificate.spki_sha256)


def parse_pin(text: str, *, kind: PinKind | None = None) -> Pin:
    """Read a pin; the digest may be hex, hex with colons, base64 or base64url.

    Args:
        text: "spki:sha256:<digest>" or "cert:sha256:<digest>".
        kind: what a digest without "spki:" or "cert:" in front is of, where the caller knows.

    Raises:
        ConfigurationError: it is no pin; without a place, which only the caller knows.
    """
    rest = text.strip()
    word, colon, after = rest.partition(":")
    if colon and word.lower() in {"spki", "cert"}:
        kind, rest = ("spki" if word.lower() == "spki" else "cert"), after
    algorithm, colon, after = rest.partition(":")
    if colon and algorithm.lower() == "sha256":
        rest = after
    elif colon and re.fullmatch(r"(?i)(sha|md)-?\d+", algorithm):
        raise ConfigurationError(f"{_quoted(text)} is no SHA-256 digest", remedy=_FORM)
    elif kind is None:
        raise ConfigurationError(f"{_quoted(text)} is no pin", remedy=_FORM)
    if kind is None:
        raise ConfigurationError(
            f"{_quoted(text)} does not say what was hashed",
            remedy='put "spki:" (the public key) or "cert:" (the whole certificate) in front',
        )
    return Pin(kind, _parse_digest(rest))


def _parse_digest(text: str) -> str:
    if _HEX.fullmatch(text):
        return text.lower()
    if _HEX_WITH_COLONS.fullmatch(text):
        return text.replace(":", "").lower()
    if _BASE64.fullmatch(text):
        standard = text.rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(standard + "=").hex()
    raise ConfigurationError(
        f"{_quoted(text)} is no SHA-256 digest",
        remedy="give 64 hex digits (colons allowed) or 44 characters of base64",
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}...")


def pin_of_pem(pem: bytes, *, kind: PinKind = "spki") -> Pin:
    """Read a PEM file: a certificate (the first one), a signing request or a public key.

    Raises:
        ConfigurationError: it is none of them, or has no whole certificate to hash for "cert".
    """
    found = _PEM_BLOCK.search(pem)
    if found is None:
        raise _no_pin("it is no PEM file")
    label, body = found[1].decode(), found[2]
    if label.endswith("PRIVATE KEY"):
        raise _no_pin("it holds a private key")
    if kind == "cert" and not label.endswith("CERTIFICATE"):
        raise _no_pin(f"a {label.lower()} holds no whole certificate")
    try:
        if label.endswith("CERTIFICATE"):
            return pin_of(parse_pem_chain(pem)[0], kind)
        return Pin("spki", hashlib.sha256(_spki_of_block(label, body)).hexdigest())
    except (ValueError, UnsupportedAlgorithm, MalformedCertificate) as error:
        raise _no_pin(f"the {label.lower()} in it cannot be read") from error


def _no_pin(problem: str) -> ConfigurationError:
    return ConfigurationError(
        problem, remedy="give a PEM file with a certificate, a signing request or a public key"
    )


def _spki_of_block(label: str, body: bytes) -> bytes:
    der = base64.b64decode(b"".join(body.split()), validate=True)
    if label.endswith("CERTIFICATE REQUEST"):
        x509.load_der_x509_csr(der)
        return spki_of_request(der)
    if label == "PUBLIC KEY":
        load_der_public_key(der)
        return der
    raise ValueError(f"a {label.lower()} has no public key")
