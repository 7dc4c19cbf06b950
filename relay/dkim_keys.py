"""Private keys that sign mail, as the operator has them in files: read, and refused where others can read them.

It does not know which setting names a file: its errors have no place, `material.py` adds it. What is signed
with them is `mailauth.keyring`'s to say. RFC 8301 3.2 (sizes), RFC 8463 (Ed25519).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from relay.certificate_files import read_key
from relay.config import read_file
from relay.errors import ConfigurationError
from relay.mail.idn import to_ascii
from relay.mailauth.keyring import Keyring
from relay.mailauth.signing import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.mailauth.keyring import Use
    from relay.settings.mailauth import Dkim, DkimKey

__all__ = ["load_keyring", "read_signing_key"]

MIN_RSA_BITS: Final = 1024
MAX_RSA_BITS: Final = 4096
"""RFC 8301 3.2: verifiers need not take longer ones, and each signature would take 5 ms."""
_OPEN_TO_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def load_keyring(settings: Dkim, attempt: Callable[[int, DkimKey], SigningKey | None]) -> Keyring:
    """Read all keys that are in use.

    Args:
        settings: `[dkim]`.
        attempt: reads a key, the how many-th it is among the settings; None where a mistake was noted.
    """

    def keys() -> Iterator[tuple[SigningKey, tuple[Use, ...]]]:
        for position, each in enumerate(settings.key):
            key = attempt(position, each)
            if key is not None and each.state == "active":
                yield key, each.use

    return Keyring.of(keys(), settings.lifetime or None)


def read_signing_key(settings: DkimKey) -> SigningKey:
    """Read a `[[dkim.key]]`.

    Raises:
        ConfigurationError: its file can't be read, is open to others, or holds no key to sign with.
    """
    path = settings.key
    read_file(path)  # whether it is there at all comes first
    _check_mode(path)
    key = read_key(path)
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is a key of a kind that DKIM does not know",
            remedy="use RSA with 2048 bits or Ed25519; `gatepost dkim new` makes one",
        )
    if isinstance(key, RSAPrivateKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise ConfigurationError(
            f"{path} is an RSA key of {key.key_size} bits, which others do not take",
            remedy="use one of 2048 bits; `gatepost dkim new` makes one",
        )
    return SigningKey(to_ascii(settings.domain).lower().removesuffix("."), settings.selector, key)


def _check_mode(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & _OPEN_TO_OTHERS:
        raise ConfigurationError(
            f"{path} is open to other users (mode {stat.S_IMODE(mode):04o})",
            remedy=f'close it ("chmod 600 {path}"), and make a new key if others may have read it',
        )
