"""The folder of our CA: `root.pem`, `root.key` and `issued.jsonl`, the list of all it has signed.

Gives `relay.pki.issuing` what it must not take itself: keys, time, serial numbers. Knows nothing of
the allowlist. `issued.jsonl` is only ever appended to, before a certificate is handed out.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from relay.errors import ConfigurationError
from relay.key_files import (
    CaKeyType,
    KeyType,
    encode_private_key,
    load_private_key,
    make_ca_key,
    make_private_key,
    refuse_existing,
    write_new,
)
from relay.pki.certificate import Certificate, MalformedCertificate, parse_pem_chain
from relay.pki.issuing import Issuer, Subject, Validity, issue_leaf, issue_root

if TYPE_CHECKING:
    from pathlib import Path

    from relay.pki.issuing import PublicKey

__all__ = ["CaFolder", "IssuedFiles", "create_ca", "issue_to_files", "valid_from_now"]

BACKDATED = timedelta(minutes=5)
"""A new certificate is valid since then: clocks differ."""


class IssuedFiles(NamedTuple):
    """A certificate and where it and its key were written."""

    certificate: Certificate
    chain_path: Path
    key_path: Path


class CaFolder:
    """A CA that exists. Constructing reads nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate_path = folder / "root.pem"
        self.key_path = folder / "root.key"
        self.list_path = folder / "issued.jsonl"

    def certificate(self) -> Certificate:
        """Read the CA's own certificate.

        Raises:
            ConfigurationError: there is no CA here.
        """
        remedy = "make a CA with `gatepost ca init`"
        try:
            return parse_pem_chain(self.certificate_path.read_bytes())[0]
        except FileNotFoundError:
            problem = "there is no CA here"
        except (MalformedCertificate, IndexError):
            problem = "no certificate can be read from it"
        raise ConfigurationError(problem, remedy=remedy, path=self.certificate_path)

    def issue(
        self,
        subject: Subject,
        public_key: PublicKey,
        validity: Validity,
        passphrase: bytes | None = None,
    ) -> Certificate:
        """Sign a certificate and note it in the list.

        Raises:
            ConfigurationError: there is no CA, its key does not open, or it has expired.
        """
        root = self.certificate()
        if root.not_after <= validity.not_before + BACKDATED:
            remedy = "make a new CA in another folder with `gatepost ca init --ca DIR`"
            raise ConfigurationError(
                "the CA has expired", remedy=remedy, path=self.certificate_path
            )
        key = load_private_key(self.key_path, passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            remedy = "use an EC or RSA key for a CA"
            raise ConfigurationError("an Ed25519 CA key", remedy=remedy, path=self.key_path)
        serial = x509.random_serial_number()  # 159 random bits; RFC 5280 4.1.2.2 asks for 64
        issuer = Issuer(root.x509, key)
        issued = Certificate(issue_leaf(subject, public_key, issuer, serial, validity))
        self._append(issued, subject)
        return issued

    def issued(self) -> list[dict[str, Any]]:
        """All that was signed, oldest first."""
        try:
            lines = self.list_path.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line]

    def find(self, name: str) -> Certificate | None:
        """The newest certificate issued under a name."""
        for record in reversed(self.issued()):
            if record["name"] == name:
                return parse_pem_chain(record["pem"].encode())[0]
        return None

    def _append(self, issued: Certificate, subject: Subject) -> None:
        record = {
            "name": subject.common_name,
            "purpose": subject.purpose,
            "serial": issued.serial,
            "spki": f"spki:sha256:{issued.spki_sha256}",
            "names": list(issued.names),
            "not_before": issued.not_before.isoformat(),
            "not_after": issued.not_after.isoformat(),
            "pem": issued.x509.public_bytes(Encoding.PEM).decode(),
        }
        descriptor = os.open(self.list_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)


def valid_from_now(days: int) -> Validity:
    """A period of `days` from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Validity(now - BACKDATED, now + timedelta(days=days))


def create_ca(
    folder: Path,
    name: str,
    *,
    key_type: CaKeyType = "ec",
    days: int = 3650,
    passphrase: bytes | None = None,
) -> CaFolder:
    """Make a CA in a folder that has none.

    Raises:
        ConfigurationError: it has one.
    """
    made = CaFolder(folder)
    refuse_existing(made.certificate_path)
    key = make_ca_key(key_type)
    root = issue_root(name, key, x509.random_serial_number(), valid_from_now(days))
    write_new(made.key_path, encode_private_key(key, passphrase), is_secret=True)
    write_new(made.certificate_path, root.public_bytes(Encoding.PEM))
    return made


def issue_to_files(
    ca: CaFolder,
    subject: Subject,
    folder: Path,
    *,
    file_name: str = "",
    key_type: KeyType = "ec",
    days: int = 90,
    passphrase: bytes | None = None,
) -> IssuedFiles:
    """Make a key, have its certificate signed, write both (`NAME.pem`, `NAME.key`).

    Raises:
        ConfigurationError: a file is there already, or as `CaFolder.issue`.
    """
    file_name = file_name or subject.common_name
    chain_path, key_path = folder / f"{file_name}.pem", folder / f"{file_name}.key"
    refuse_existing(chain_path)
    key = make_private_key(key_type)
    write_new(key_path, encode_private_key(key), is_secret=True)
    try:
        issued = ca.issue(subject, key.public_key(), valid_from_now(days), passphrase)
    except BaseException:
        key_path.unlink()
        raise
    write_new(chain_path, issued.x509.public_bytes(Encoding.PEM))
    return IssuedFiles(issued, chain_path, key_path)
