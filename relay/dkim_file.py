"""`[[dkim.key]]`s on disk, made and edited for the operator: keys in files of their own, comments stay.

New entries go to `conf.d/dkim.toml`, those of the operator's are changed where they stand; a file is put in
place by a rename. When a key begins and ends to sign is decided elsewhere. RFC 8301 3.2 (sizes).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal

import tomlkit
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from relay.errors import ConfigurationError
from relay.key_files import encode_private_key, lock_folder, replace_file, write_new
from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from tomlkit.items import AoT

    from relay.settings.mailauth import DkimKey

__all__ = ["KeyKind", "add_key", "file_of", "new_selector", "remove_key", "set_state"]

KeyKind = Literal["rsa", "ed25519"]
"""Kinds of keys that DKIM knows."""

DROP_IN: Final = "conf.d/dkim.toml"
_RSA_BITS: Final = 2048
_HEADER: Final = """\
# Keys that sign mail. `gatepost dkim` edits this file, so may you; a running relay takes it over when it changes.
"""


def file_of(configuration: Path) -> Path:
    """Return the file for new entries beside a configuration file."""
    return configuration.parent / DROP_IN


def new_selector(kind: KeyKind, taken: Collection[str], now: datetime) -> str:
    """Return a selector that tells when the key was made: "g202701", "g202701e" for Ed25519."""
    stem = f"g{now:%Y%m}" + ("e" if kind == "ed25519" else "")
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def add_key(path: Path, entry: DkimKey, kind: KeyKind) -> None:
    """Make a key in a file that its owner alone can read, and an entry for it.

    Args:
        path: the file for the entry, as `file_of` says.
        entry: what is to stand there.
        kind: what to draw.

    Raises:
        ConfigurationError: there is a file of its name already.
        OSError: a file can't be written.
    """
    key: RSAPrivateKey | Ed25519PrivateKey
    if kind == "ed25519":
        key = Ed25519PrivateKey.generate()
    else:
        key = generate_private_key(65537, _RSA_BITS)
    entry.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_new(entry.key, encode_private_key(key), is_secret=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    relative = os.path.relpath(entry.key, path.parent)
    values = entry.model_dump() | {"key": relative, "use": list(entry.use)}
    _edit(path, lambda text: _appended(text, values))


def set_state(path: Path, key: DkimKey, state: str) -> None:
    """Say that a key signs from now on ("active"), or no more ("retired"). Raises ConfigurationError, OSError."""

    def change(keys: AoT, index: int) -> None:
        keys[index]["state"] = state

    _edit(path, lambda text: _changed(text, path, key, change))


def remove_key(path: Path, key: DkimKey) -> None:
    """Take an entry out, and its private key away. Raises ConfigurationError, OSError."""
    _edit(path, lambda text: _changed(text, path, key, lambda keys, index: keys.pop(index)))
    key.key.unlink(missing_ok=True)


def _appended(text: str, values: dict[str, Any]) -> str:
    table = tomlkit.table()
    for name, value in values.items():
        table.add(name, value)
    lines = tomlkit.dumps(table).strip()
    return f"{(text or _HEADER).rstrip()}\n\n[[dkim.key]]\n{lines}\n"


def _changed(text: str, path: Path, key: DkimKey, change: Callable[[AoT, int], object]) -> str:
    document = tomlkit.parse(text)
    keys: Any = document.get("dkim", {}).get("key", ())
    for index, table in enumerate(keys):
        is_domain = canonical_domain(table["domain"]) == canonical_domain(key.domain)
        if is_domain and table["selector"] == key.selector:
            change(keys, index)
            return tomlkit.dumps(document)
    raise ConfigurationError(
        f"the key {key.selector} of {key.domain} is not in it",
        remedy="has it been changed just now? try again",
        path=path,
    )


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path = path.resolve()  # a link stays a link
    with lock_folder(path.parent):
        text = path.read_text() if path.exists() else ""
        replace_file(path, change(text).encode())
