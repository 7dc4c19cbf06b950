"""The records of our CA: `issued.jsonl`, all it has signed, and `revoked.jsonl`, what no longer holds.

Both are only ever appended to, a line at a time and on disk before anything follows from it. Knows
nothing of keys or of revocation lists.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.pki.issuing import Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from relay.pki.certificate import Certificate
    from relay.pki.issuing import Subject

__all__ = ["CaRecords"]


class CaRecords:
    """The two files in the CA's folder. Constructing reads nothing; each call reads them anew."""

    def __init__(self, folder: Path) -> None:
        self.issued_path = folder / "issued.jsonl"
        self.revoked_path = folder / "revoked.jsonl"

    def issued(self) -> list[dict[str, Any]]:
        """All that was signed, oldest first."""
        return _read(self.issued_path)

    def revoked(self) -> list[dict[str, Any]]:
        """All that was revoked, oldest first: `serial`, `name`, `issuer`, `at`, `reason`, `by`."""
        return _read(self.revoked_path)

    def add_issued(self, certificate: Certificate, subject: Subject) -> None:
        """Note a certificate before it is handed out."""
        record = {
            "name": subject.common_name,
            "purpose": subject.purpose,
            "serial": certificate.serial,
            "spki": f"spki:sha256:{certificate.spki_sha256}",
            "names": list(certificate.names),
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
            "pem": certificate.x509.public_bytes(Encoding.PEM).decode(),
        }
        _append(self.issued_path, record)

    def add_revoked(
        self, certificate: Certificate, reason: x509.ReasonFlags, at: datetime, by: str
    ) -> dict[str, Any]:
        """Note a revocation: when and by whom. Returns the record."""
        record = {
            "serial": certificate.serial,
            "name": certificate.common_name,
            "issuer": certificate.issuer,
            "at": at.isoformat(),
            "reason": reason.value,
            "by": by,
        }
        _append(self.revoked_path, record)
        return record

    def revoked_by(self, issuer: Certificate) -> list[Revoked]:
        """The entries of an issuer's list."""
        return [_entry(each) for each in self.revoked() if each["issuer"] == issuer.subject]

    def revocation_of(self, serial: str) -> Revoked | None:
        """The revocation of a serial number (in hex), None while it stands."""
        found = (each for each in self.revoked() if each["serial"] == serial)
        return next((_entry(each) for each in found), None)


def _entry(record: Mapping[str, Any]) -> Revoked:
    at = datetime.fromisoformat(record["at"])
    return Revoked(int(record["serial"], 16), at, x509.ReasonFlags(record["reason"]))


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line]


def _append(path: Path, record: Mapping[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)
