"""Looking records up in the audit trail, rotated files included.

Reads line by line, so a large trail costs time and no memory. It must not write.
"""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any

import orjson

from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Record", "files", "find", "records"]

Record = dict[str, Any]
"""One record, as it was written."""

_ROTATED = re.compile(r"\.?-?(\d+)(?:\.gz)?|\.gz")
"""What logrotate adds to the name: .1, .2.gz, -20260131, -20260131.gz."""


def find(path: Path, reference: str) -> Iterator[Record]:
    """Give the records with this reference or session id, oldest file first.

    A torn line (the disk was full) is skipped.

    Raises:
        Unavailable: the trail can't be read.
    """
    wanted = reference.strip().upper()
    needle = wanted.encode()
    for file in files(path):
        for line in _lines(file):
            record = _parse(line) if needle in line else {}
            if wanted in {record.get("reference"), record.get("session")}:
                yield record


def records(path: Path, containing: bytes = b"", since: datetime | None = None) -> Iterator[Record]:
    """Give all records whose line contains some bytes, oldest file first. Raises as `find`.

    Files that were written to the last time before `since` are left out whole.
    """
    for file in files(path):
        if since is not None and file.stat().st_mtime < since.timestamp():
            continue
        for line in _lines(file):
            if containing in line and (record := _parse(line)):
                yield record


def files(path: Path) -> list[Path]:
    """Return the trail's files as rotation has left them, oldest first, the current one last."""
    rotated = [
        file
        for file in path.parent.glob(f"{path.name}?*")
        if _ROTATED.fullmatch(file.name[len(path.name) :])
    ]
    rotated.sort(key=lambda file: file.stat().st_mtime)
    return [*rotated, *([path] if path.exists() else [])]


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with _open(file) as stream:
            yield from stream
    except (OSError, EOFError) as error:  # EOFError: a .gz that is still being written
        raise Unavailable(f"{file}: {error}") from error


def _open(file: Path) -> BinaryIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]  # a BinaryIO in all but name
    return file.open("rb")


def _parse(line: bytes) -> Record:
    try:
        record = orjson.loads(line)
    except ValueError:
        try:  # lone surrogates, from bytes that were no UTF-8
            record = json.loads(line)
        except ValueError:
            return {}
    return record if isinstance(record, dict) else {}
