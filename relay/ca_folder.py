"""The folder of our CA: a root, the intermediate that issues, their keys, and the records.

Gives `relay.pki.issuing` what it must not take itself: keys, time, serial numbers. Knows nothing of
the allowlist. A folder without `issuing.pem` is one of a root that issues itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.ca_records import CaRecords, RecordIndex
from relay.errors import ConfigurationError
from relay.key_files import (
    KeyType,
    encode_private_key,
    load_private_key,
    make_private_key,
    refuse_existing,
    write_new,
)
from relay.pki.certificate import Certificate, MalformedCertificate, parse_pem_chain
from relay.pki.issuing import (
    Issuer,
    Publication,
    Subject,
    Validity,
    issue_intermediate,
    issue_leaf,
    issue_root,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay.pki.issuing import PublicKey

__all__ = [
    "CaFolder",
    "IssuedFiles",
    "create_ca",
    "encode_chain",
    "issue_to_files",
    "publication_at",
    "valid_from_now",
]

BACKDATED = timedelta(minutes=5)
"""A new certificate is valid since then: clocks differ."""


class IssuedFiles(NamedTuple):
    """A certificate and where it and its key were written."""

    certificate: Certificate
    chain_path: Path
    key_path: Path


class CaFolder:
    """A CA that exists. Constructing reads nothing.

    Args:
        folder: where it is.
        published: where its list and its responder are; stands in each certificate it signs.
    """

    def __init__(self, folder: Path, published: Publication = Publication()) -> None:  # noqa: B008  (immutable)
        self.folder = folder
        self.published = published
        self.certificate_path = folder / "root.pem"
        self.key_path = folder / "root.key"
        self.issuing_path = folder / "issuing.pem"
        self.issuing_key_path = folder / "issuing.key"
        self.records = CaRecords(folder)
        self.index = RecordIndex(self.records)

    def certificate(self) -> Certificate:
        """Read the root's certificate: what others must trust.

        Raises:
            ConfigurationError: there is no CA here.
        """
        return _read_certificate(self.certificate_path)

    def issuing_certificate(self) -> Certificate:
        """Read the certificate that signs leaves: the intermediate's, or the root's if none is."""
        return _read_certificate(
            self.issuing_path if self.issuing_path.exists() else self.certificate_path
        )

    def intermediates(self) -> tuple[Certificate, ...]:
        """What stands between a leaf and the root."""
        return (_read_certificate(self.issuing_path),) if self.issuing_path.exists() else ()

    def root(self, passphrase: bytes | None = None) -> Issuer:
        """Open the root. Raises ConfigurationError; OSError if its key is kept elsewhere."""
        key = load_private_key(self.key_path, passphrase)
        return Issuer(self.certificate().x509, key, self.published)

    def issuer(self, passphrase: bytes | None = None) -> Issuer:
        """Open what signs leaves. Raises ConfigurationError: the key does not open."""
        if not self.issuing_path.exists():
            certificate = self.certificate()  # no CA at all is said in its own words
            return Issuer(
                certificate.x509, load_private_key(self.key_path, passphrase), self.published
            )
        key = load_private_key(self.issuing_key_path, passphrase)
        return Issuer(self.issuing_certificate().x509, key, self.published)

    def issue(
        self,
        subject: Subject,
        public_key: PublicKey,
        validity: Validity,
        passphrase: bytes | None = None,
    ) -> Certificate:
        """Sign a certificate and note it in the records.

        Raises:
            ConfigurationError: there is no CA, its key does not open, or it has expired.
        """
        for ca in (self.certificate(), *self.intermediates()):
            if ca.not_after <= validity.not_before + BACKDATED:
                remedy = "make a new CA in another folder"
                raise ConfigurationError(
                    "the CA has expired", remedy=remedy, path=self.certificate_path
                )
        serial = x509.random_serial_number()  # 159 random bits; RFC 5280 4.1.2.2 asks for 64
        issuer = self.issuer(passphrase)
        issued = Certificate(issue_leaf(subject, public_key, issuer, serial, validity))
        self.records.add_issued(issued, subject)
        return issued

    def issued(self) -> list[dict[str, Any]]:
        """All that was signed, oldest first."""
        return self.records.issued()

    def find(self, name: str) -> Certificate | None:
        """The newest certificate issued under a name."""
        for record in reversed(self.issued()):
            if record["name"] == name:
                return parse_pem_chain(record["pem"].encode())[0]
        return None

    def find_serial(self, serial: str) -> Certificate | None:
        """The certificate with a serial number (in hex)."""
        for record in self.issued():
            if record["serial"] == serial:
                return parse_pem_chain(record["pem"].encode())[0]
        return None

    def chain(self, leaf: Certificate) -> tuple[Certificate, ...]:
        """A leaf and the intermediates that belong to it, as a TLS peer has to show them."""
        above = (each for each in self.intermediates() if each.subject == leaf.issuer)
        return (leaf, *above)


def publication_at(url: str, *, has_responder: bool = False) -> Publication:
    """Where the list is that is published at `url`, and the responder; nowhere if that is empty."""
    if not url:
        return Publication()
    base = url.rstrip("/")
    return Publication(f"{base}/crl.der", f"{base}/ocsp" if has_responder else "")


def encode_chain(certificates: Sequence[Certificate]) -> bytes:
    """The certificates as PEM."""
    return b"".join(each.x509.public_bytes(Encoding.PEM) for each in certificates)


def valid_from_now(days: float) -> Validity:
    """A period of `days` from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Validity(now - BACKDATED, now + timedelta(days=days))


def create_ca(
    folder: Path,
    name: str,
    *,
    key_type: KeyType = "ec",
    days: int = 3650,
    passphrase: bytes | None = None,
    url: str = "",
) -> CaFolder:
    """Make a CA, root and issuing intermediate, in a folder that has none.

    Args:
        folder: where to.
        name: the root's name.
        key_type: of both.
        days: how long both are valid.
        passphrase: encrypts both keys.
        url: where a web server publishes the folder's lists, if it is known.

    Raises:
        ConfigurationError: it has one.
    """
    made = CaFolder(folder, publication_at(url))
    paths = (made.certificate_path, made.key_path, made.issuing_path, made.issuing_key_path)
    for path in paths:
        refuse_existing(path)
    root_key, issuing_key = make_private_key(key_type), make_private_key(key_type)
    validity = valid_from_now(days)
    root = issue_root(name, root_key, x509.random_serial_number(), validity)
    listed = Publication(f"{url.rstrip('/')}/root-crl.der") if url else Publication()
    issuing = issue_intermediate(
        f"{name}, issuing",
        issuing_key.public_key(),
        Issuer(root, root_key, listed),
        x509.random_serial_number(),
        validity,
    )
    write_new(made.key_path, encode_private_key(root_key, passphrase), is_secret=True)
    write_new(made.issuing_key_path, encode_private_key(issuing_key, passphrase), is_secret=True)
    write_new(made.certificate_path, root.public_bytes(Encoding.PEM))
    write_new(made.issuing_path, issuing.public_bytes(Encoding.PEM))
    return made


def issue_to_files(
    ca: CaFolder,
    subject: Subject,
    folder: Path,
    *,
    file_name: str = "",
    key_type: KeyType = "ec",
    days: float = 90,
    passphrase: bytes | None = None,
) -> IssuedFiles:
    """Make a key, have its certificate signed, write both (`NAME.pem`, the chain, and `NAME.key`).

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
    write_new(chain_path, encode_chain(ca.chain(issued)))
    return IssuedFiles(issued, chain_path, key_path)


def _read_certificate(path: Path) -> Certificate:
    remedy = "make a CA with `gatepost ca init`"
    try:
        return parse_pem_chain(path.read_bytes())[0]
    except FileNotFoundError:
        problem = "there is no CA here"
    except (MalformedCertificate, IndexError):
        problem = "no certificate can be read from it"
    raise ConfigurationError(problem, remedy=remedy, path=path)
