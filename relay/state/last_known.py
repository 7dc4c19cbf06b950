"""The restrictions last known, in a file: for a worker that starts while the store of the fleet is away.

All workers of a host write the same; the file is put in place by rename. Knows no store.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
import structlog

from relay.model import Restriction, RestrictionKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["LastKnown"]

log = structlog.get_logger("gatepost")


class LastKnown:
    """The file at `path`, which need not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Sequence[Restriction]:
        """Return what was last known; nothing if there is no file, or none that can be read."""
        try:
            found = orjson.loads(self._path.read_bytes())
            return tuple(
                Restriction(**{**each, "kind": RestrictionKind(each["kind"])}) for each in found
            )
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("last known restrictions not read", path=str(self._path), error=str(error))
            return ()

    def write(self, restrictions: Iterable[Restriction]) -> None:
        """Keep these; a disk that is full is only logged."""
        written = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            written.touch(mode=0o600)
            written.write_bytes(orjson.dumps(tuple(restrictions)))
            written.replace(self._path)
        except OSError as error:
            log.warning("restrictions not kept", path=str(self._path), error=str(error))
            written.unlink(missing_ok=True)
