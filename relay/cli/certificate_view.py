"""A certificate for people and for programs: what it says, and its pins in all spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.pki.certificate import parse_pem_chain
from relay.pki.pins import pin_forms, pin_of, pin_of_pem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from relay.pki.certificate import Certificate

__all__ = ["describe", "describe_pem", "print_description"]

_PURPOSES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}


def describe(certificate: Certificate) -> dict[str, Any]:
    """Return what a certificate says, and its pins. Raises MalformedCertificate."""
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "names": list(certificate.names),
        "purposes": _purposes(certificate),
        "key": _key_words(certificate),
        "pins": {
            "spki": pin_forms(pin_of(certificate)),
            "cert": pin_forms(pin_of(certificate, "cert")),
        },
    }


def describe_pem(pem: bytes) -> dict[str, Any]:
    """Return the same for a PEM file; of a request or a public key there is only the pin.

    Raises:
        ConfigurationError: there is nothing in it that can be pinned.
        MalformedCertificate: its certificate cannot be read.
    """
    chain = parse_pem_chain(pem)
    return describe(chain[0]) if chain else {"pins": {"spki": pin_forms(pin_of_pem(pem))}}


def _purposes(certificate: Certificate) -> list[str]:
    found = certificate.extension(x509.ExtendedKeyUsage)
    return [_PURPOSES.get(each, each.dotted_string) for each in found or ()]


def _key_words(certificate: Certificate) -> str:
    key = certificate.public_key
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.strip("_").removesuffix("PublicKey")


def print_description(console: Console, value: Mapping[str, Any]) -> None:
    """Print what `describe` has found."""
    for key, shown in value.items():
        if key != "pins" and shown:
            text = ", ".join(shown) if isinstance(shown, list) else shown
            console.print(f"{key.replace('_', ' '):<12} {text}")
    for forms in value["pins"].values():
        for form in forms.values():
            console.print(f"{'pin':<12} {form}")
