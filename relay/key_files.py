"""Private keys and other files on disk: keys have mode 0600, new files never replace old ones.

Knows nothing of certificates or of the CA.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from relay.errors import ConfigurationError
from relay.pki.issuing import PrivateKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "KeyType",
    "encode_private_key",
    "key_type_of",
    "load_private_key",
    "lock_folder",
    "make_private_key",
    "read_passphrase",
    "read_password_file",
    "refuse_existing",
    "replace_file",
    "write_new",
]

KeyType = Literal["ec", "p384", "rsa", "ed25519"]
"""Kinds of keys, for CAs and for leaves."""


def make_private_key(kind: KeyType) -> PrivateKey:
    """Draw a key: P-256, P-384, RSA with 3072 bits or Ed25519."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        return rsa.generate_private_key(65537, 3072)
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def key_type_of(key: PrivateKey) -> KeyType:
    """The kind to draw, to have another of its kind."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "p384" if key.curve.name == "secp384r1" else "ec"
    return "rsa"


def encode_private_key(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return a key as PEM (PKCS#8), encrypted if there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def load_private_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """Read a key.

    Raises:
        ConfigurationError: the file is no key, of another kind, or does not open with `passphrase`.
        OSError: it cannot be read.
    """
    pem = path.read_bytes()
    if passphrase and b"ENCRYPTED" not in pem:
        passphrase = None  # a passphrase in the environment harms no key that needs none
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:
        raise ConfigurationError(
            "the key is encrypted",
            remedy="give --passphrase-file, or set GATEPOST_CA_PASSPHRASE",
            path=path,
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            "no private key can be read from it",
            remedy="check the file, and the passphrase if it is encrypted",
            path=path,
        ) from None
    if not isinstance(key, PrivateKey):
        remedy = "use an EC, RSA or Ed25519 key"
        raise ConfigurationError("a kind of key that is not used here", remedy=remedy, path=path)
    return key


def read_passphrase(environ: Mapping[str, str]) -> bytes | None:
    """Return the passphrase of the CA's key as the environment gives it, None if it has none.

    Raises:
        ConfigurationError: the file that is named is empty.
        OSError: it cannot be read.
    """
    if path := environ.get("GATEPOST_CA_PASSPHRASE_FILE"):
        return read_password_file(Path(path))
    return environ.get("GATEPOST_CA_PASSPHRASE", "").encode() or None


def read_password_file(path: Path) -> bytes:
    """Return the first line of a file. Raises ConfigurationError if it is empty, OSError."""
    line = path.read_bytes().partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigurationError("no password in its first line", remedy="put one there", path=path)
    return line


def refuse_existing(path: Path) -> None:
    """Raise ConfigurationError if a file is there that a new one would replace."""
    if path.exists():
        remedy = "choose another name or folder, or move it away"
        raise ConfigurationError("the file exists already", remedy=remedy, path=path)


def write_new(path: Path, content: bytes, *, is_secret: bool = False) -> None:
    """Write a file that must not be there yet; a secret one is readable by its owner only.

    Raises:
        ConfigurationError: it is there already.
        OSError: it cannot be written.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if is_secret else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def replace_file(path: Path, content: bytes, *, is_secret: bool = False) -> None:
    """Put a file in the place of another, or where none is: all of it at once.

    It takes over mode and owner of the old file. Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            _take_over_mode(path, descriptor, 0o600 if is_secret else 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Be the only one who changes files of a folder; the others wait. It has nothing to clean up."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_over_mode(path: Path, descriptor: int, otherwise: int) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, otherwise)
        return
    os.fchmod(descriptor, old.st_mode & 0o777)
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
        os.fchown(descriptor, old.st_uid, old.st_gid)
