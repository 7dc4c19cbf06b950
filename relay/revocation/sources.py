"""Where lists are fetched from: addresses, whose lists they have, and what was there last.

Kept on disk, so that after a restart the relay neither waits for a client to name them again nor fetches
a list that it has. Fetches nothing itself. RFC 5280 4.2.1.13.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from relay.pki.certificate import Certificate, MalformedCertificate
from relay.revocation.folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MAX_SOURCES", "SOURCES_FILE", "Source", "read_sources", "write_sources"]

SOURCES_FILE: Final = "sources.json"
"""Where they are kept, in the folder of the lists."""

MAX_SOURCES: Final = 1000
"""Clients' certificates name them, so there must be an end to it."""
_MAX_ISSUERS: Final = 8
_FORGOTTEN_AFTER: Final = timedelta(days=30)


@dataclass
class Source:
    """One address.

    `issuers` are the CAs whose lists are expected there. `wanted` is the day when a client's certificate
    last named it, None if the configuration does. `file_name`, `etag` and `modified` are of the list
    that was there last. `problem` is why the last attempt failed, "" if it did not.
    """

    url: str
    issuers: list[Certificate]
    wanted: date | None = None
    file_name: str = ""
    etag: str = ""
    modified: str = ""
    problem: str = ""
    failures: int = field(default=0, compare=False)

    def add_issuer(self, issuer: Certificate) -> None:
        """Expect the lists of another CA there, too."""
        if issuer not in self.issuers and len(self.issuers) < _MAX_ISSUERS:
            self.issuers.append(issuer)


def read_sources(path: Path, today: date) -> list[Source]:
    """Return the sources that were kept; what nobody has wanted for a month is forgotten."""
    try:
        kept = [_read_source(each) for each in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError, KeyError, MalformedCertificate):
        return []  # lost, or of another version: clients and the configuration name them again
    return [each for each in kept if each.wanted is None or today - each.wanted < _FORGOTTEN_AFTER]


def write_sources(path: Path, sources: Iterable[Source]) -> None:
    """Keep sources. Raises OSError."""
    kept = [
        {
            "url": source.url,
            "issuers": [base64.b64encode(each.der).decode() for each in source.issuers],
            "wanted": source.wanted.isoformat() if source.wanted else None,
            "file_name": source.file_name,
            "etag": source.etag,
            "modified": source.modified,
        }
        for source in sources
    ]
    write_atomically(path, json.dumps(kept).encode())


def _read_source(kept: dict[str, Any]) -> Source:
    issuers = [Certificate(base64.b64decode(each)) for each in kept["issuers"]]
    for issuer in issuers:
        _ = issuer.subject
    return Source(
        url=str(kept["url"]),
        issuers=issuers,
        wanted=date.fromisoformat(kept["wanted"]) if kept["wanted"] else None,
        file_name=str(kept["file_name"]),
        etag=str(kept["etag"]),
        modified=str(kept["modified"]),
    )
