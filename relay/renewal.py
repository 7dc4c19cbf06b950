"""Renewing a certificate of our own CA in its files, and when it is time to.

Order: the new certificate, then its pin on the allowlist, then the files. Knows nothing of the
command line.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.ca_folder import BACKDATED, encode_chain
from relay.errors import ConfigurationError
from relay.key_files import (
    encode_private_key,
    key_type_of,
    load_private_key,
    make_private_key,
    replace_file,
)
from relay.pki.certificate import Certificate, MalformedCertificate, parse_pem_chain
from relay.pki.issuing import Subject, Validity
from relay.succession import end_pins, publish_successor

if TYPE_CHECKING:
    from pathlib import Path

    from relay.ca_folder import CaFolder

__all__ = ["Renewal", "due_at", "read_leaf", "renew", "subject_of"]


class Renewal(NamedTuple):
    """What came of it: `identity` has the new pin on the allowlist; None if it had none before."""

    certificate: Certificate
    identity: str | None
    ended_pins: tuple[str, ...]


def renew(
    ca: CaFolder,
    chain_path: Path,
    key_path: Path,
    allowlist: Path,
    *,
    lifetime: timedelta | None = None,
    keeps_key: bool = False,
    passphrase: bytes | None = None,
) -> Renewal:
    """Replace a certificate, and its key unless it is kept, by the next.

    Args:
        ca: our CA; the certificate has to be one of it.
        chain_path: PEM file with the certificate.
        key_path: PEM file with its key.
        allowlist: gets the new pin beside the old one.
        lifetime: how long the new one holds; else as long as the old one.
        keeps_key: whether to certify the same key again.
        passphrase: of the CA's key.

    Raises:
        ConfigurationError: a file cannot be read, the certificate is revoked or not of this CA, or
            as `CaFolder.issue`.
    """
    old = read_leaf(chain_path)
    key = load_private_key(key_path)
    _check(ca, old, chain_path)
    if not keeps_key:
        key = make_private_key(key_type_of(key))
    now = datetime.now(UTC).replace(microsecond=0)
    validity = Validity(now - BACKDATED, now + (lifetime or _lifetime_of(old)))
    new = ca.issue(subject_of(old), key.public_key(), validity, passphrase)
    identity = publish_successor(allowlist, old, new)
    ended = end_pins(allowlist, identity, ca.index.end_of, now) if identity else []
    if not keeps_key:
        replace_file(key_path, encode_private_key(key), is_secret=True)
    replace_file(chain_path, encode_chain(ca.chain(new)))
    return Renewal(new, identity, tuple(ended))


def read_leaf(path: Path) -> Certificate:
    """Read the first certificate of a PEM file. Raises ConfigurationError, OSError."""
    try:
        return parse_pem_chain(path.read_bytes())[0]
    except (MalformedCertificate, IndexError):
        remedy = "give the PEM file of a certificate"
        raise ConfigurationError(
            "no certificate can be read from it", remedy=remedy, path=path
        ) from None


def due_at(certificate: Certificate, share: float = 2 / 3) -> datetime:
    """When so much of its life is over."""
    return certificate.not_before + (certificate.not_after - certificate.not_before) * share


def subject_of(certificate: Certificate) -> Subject:
    """For whom it is, to issue it again."""
    purposes = certificate.extension(x509.ExtendedKeyUsage) or ()
    is_server = ExtendedKeyUsageOID.SERVER_AUTH in purposes
    return Subject(certificate.common_name, certificate.names, "server" if is_server else "client")


def _lifetime_of(certificate: Certificate) -> timedelta:
    """How long it was to hold when it was made; nobody but us has backdated it."""
    life = certificate.not_after - certificate.not_before
    return life - BACKDATED if life > BACKDATED else life


def _check(ca: CaFolder, old: Certificate, path: Path) -> None:
    if not any(each["serial"] == old.serial for each in ca.issued()):
        remedy = "renew it where it comes from"
        raise ConfigurationError("not a certificate of this CA", remedy=remedy, path=path)
    if ca.records.revocation_of(old.serial):
        remedy = "issue a new one with `gatepost cert issue`"
        raise ConfigurationError("the certificate is revoked", remedy=remedy, path=path)
