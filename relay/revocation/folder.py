"""The folder of revocation lists: index files that the keeper writes and every worker maps.

A file is replaced by rename, never changed, so what a worker has mapped stays what it was. The pages are
the system's: a list of a million entries is in memory once, however many workers look into it. Knows
nothing of where lists come from; whether one may be believed has been decided before (`pki.crl`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.pki.crl_lookup import HeldList, delta_fault
from relay.pki.serial_index import CorruptIndex, IndexHeader, SerialIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["CrlFolder", "Held", "IssuerIds", "ListKey", "key_of", "write_atomically"]

IssuerIds = tuple[str, str]
"""Digests of a CA's name and key, as `pki.crl.issuer_ids` gives them."""
Held = dict[IssuerIds, tuple[HeldList, ...]]
"""The lists of each CA."""

_SUFFIX: Final = ".index"


class ListKey(NamedTuple):
    """What makes a list the successor of another: the CA, what it covers, complete or delta."""

    issuer: IssuerIds
    only: str
    points: tuple[str, ...]
    is_delta: bool

    @property
    def file_name(self) -> str:
        """The name of its index file."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:32] + _SUFFIX


def key_of(header: IndexHeader) -> ListKey:
    """Return the key of a list that is an index already."""
    issuer = (header.issuer_name, header.issuer_key)
    return ListKey(issuer, header.only, header.points, header.base_number is not None)


_Signature = tuple[int, int, int]


class CrlFolder:
    """The index files of one folder. `read` again after each change; a file seen stays mapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, tuple[_Signature, SerialIndex]] = {}

    # --- the keeper's side ------------------------------------------------------------------

    def prepare(self) -> list[str]:
        """Make the folder; remove files that are damaged or half written, and return their names."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        removed = []
        for path in sorted(self._path.iterdir()):
            is_sound = path.suffix == ".json"
            if path.suffix == _SUFFIX:
                with contextlib.suppress(CorruptIndex, OSError, ValueError):
                    is_sound = _map(path).is_intact()
            if not is_sound:
                path.unlink()
                removed.append(path.name)
        return removed

    def header(self, file_name: str) -> IndexHeader | None:
        """What the list in a file says of itself; None if there is none."""
        try:
            return _map(self._path / file_name).header
        except (CorruptIndex, OSError, ValueError):
            return None

    def write(self, key: ListKey, index: bytes) -> None:
        """Put an index in the place of its predecessor. Raises OSError."""
        write_atomically(self._path / key.file_name, index)

    # --- the workers' side ------------------------------------------------------------------

    def read(self) -> Held:
        """Map what is new, let go of what is gone; return all lists, deltas with their lists."""
        found: dict[str, tuple[_Signature, SerialIndex]] = {}
        for path in self._files():
            with contextlib.suppress(CorruptIndex, OSError, ValueError):  # gone, or not ours
                signature = _signature(path)
                known = self._open.get(path.name)
                is_same = known is not None and known[0] == signature
                found[path.name] = known if known and is_same else (signature, _map(path))
        self._open = found
        return _pair_up(index for _, index in found.values())

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._path.iterdir() if path.suffix == _SUFFIX)
        except OSError:
            return []


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that others see the old one or the new one, after a crash too. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def _signature(path: Path) -> _Signature:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _map(path: Path) -> SerialIndex:
    with path.open("rb") as file:
        return SerialIndex(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _pair_up(indexes: Iterable[SerialIndex]) -> Held:
    by_key = {key_of(index.header): index for index in indexes}
    held: Held = {}
    for key, index in by_key.items():
        if not key.is_delta:
            made = HeldList(index, _delta_to(index, key, by_key))
            held[key.issuer] = (*held.get(key.issuer, ()), made)
    return held


def _delta_to(
    index: SerialIndex, key: ListKey, by_key: Mapping[ListKey, SerialIndex]
) -> SerialIndex | None:
    delta = by_key.get(key._replace(is_delta=True))
    if delta is None or delta_fault(delta.header, index.header) is not None:
        return None
    return delta
