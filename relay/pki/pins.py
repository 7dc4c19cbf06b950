"""Pins: the digest of a public key (SPKI) or of a whole certificate, in every spelling in use.

Knows nothing of identities or of trust. A pin always says which of the two it is; a bare
"sha256:..." is refused, for guessing wrong would lock a partner out. RFC 7469 2.4 (SPKI digests).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

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
_EXAMPLE = 'write it as "spki:sha256:<digest>" or "cert:sha256:<digest>"'


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
        ValueError: it is no pin; the text says what is wrong and how to write it.
    """
    rest = text.strip()
    word, colon, after = rest.partition(":")
    if colon and word.lower() in {"spki", "cert"}:
        kind, rest = ("spki" if word.lower() == "spki" else "cert"), after
    algorithm, colon, after = rest.partition(":")
    if colon and algorithm.lower() == "sha256":
        rest = after
    elif colon and re.fullmatch(r"(?i)(sha|md)-?\d+", algorithm):
        raise ValueError(f"{algorithm} digests are not supported; use sha256")
    elif kind is None:
        raise ValueError(f"{_shortened(text)} is no pin; {_EXAMPLE}")
    if kind is None:
        raise ValueError(
            f"{_shortened(text)} does not say what was hashed; put spki: (the public key) "
            "or cert: (the whole certificate) in front"
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
    raise ValueError(
        f"{_shortened(text)} is no SHA-256 digest; give 64 hex digits (colons allowed) "
        "or 44 characters of base64"
    )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def pin_of_pem(pem: bytes, *, kind: PinKind = "spki") -> Pin:
    """Read a PEM file: a certificate (the first one), a signing request or a public key.

    Raises:
        ValueError: it is none of them, or has no whole certificate to hash for kind "cert".
    """
    found = _PEM_BLOCK.search(pem)
    if found is None:
        raise ValueError("it is no PEM file (no -----BEGIN line)")
    label, body = found[1].decode(), found[2]
    if label.endswith("PRIVATE KEY"):
        raise ValueError("it holds a private key; pin the certificate or the public key instead")
    if label.endswith("CERTIFICATE"):
        try:
            return pin_of(parse_pem_chain(pem)[0], kind)
        except MalformedCertificate as error:
            raise ValueError(str(error)) from error
    if kind == "cert":
        raise ValueError(f"a {label.lower()} has no certificate to pin; pin its public key (spki)")
    return Pin("spki", hashlib.sha256(_spki_of_block(label, body)).hexdigest())


def _spki_of_block(label: str, body: bytes) -> bytes:
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        if label.endswith("CERTIFICATE REQUEST"):
            x509.load_der_x509_csr(der)
            return spki_of_request(der)
        if label == "PUBLIC KEY":
            load_der_public_key(der)
            return der
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(f"the {label.lower()} cannot be read: {error}") from error
    raise ValueError(f"it holds a {label.lower()}, not a certificate, request or public key")
