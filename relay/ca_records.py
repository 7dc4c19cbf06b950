"""The records of our CA: `issued.jsonl`, all it has signed, and `revoked.jsonl`, what no longer holds.

Both are only ever appended to, a line at a time and on disk before anything follows from it; so whoever
has read them need only read what came since. Knows nothing of keys or of revocation lists.
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
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from relay.pki.certificate import Certificate
    from relay.pki.issuing import Subject

__all__ = ["CaRecords", "SerialNumbers", "append_record", "read_records"]


class CaRecords:
    """The two files in the CA's folder. Constructing reads nothing; each call reads them anew."""

    def __init__(self, folder: Path) -> None:
        self.issued_path = folder / "issued.jsonl"
        self.revoked_path = folder / "revoked.jsonl"

    def issued(self) -> list[dict[str, Any]]:
        """All that was signed, oldest first."""
        return read_records(self.issued_path)

    def revoked(self) -> list[dict[str, Any]]:
        """All that was revoked, oldest first: `serial`, `name`, `issuer`, `at`, `reason`, `by`."""
        return read_records(self.revoked_path)

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
        append_record(self.issued_path, record)

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
        append_record(self.revoked_path, record)
        return record

    def revoked_by(self, issuer: Certificate) -> list[Revoked]:
        """The entries of an issuer's list."""
        return [_entry(each) for each in self.revoked() if each["issuer"] == issuer.subject]

    def revocation_of(self, serial: str) -> Revoked | None:
        """The revocation of a serial number (in hex), None while it stands."""
        found = (each for each in self.revoked() if each["serial"] == serial)
        return next((_entry(each) for each in found), None)


class SerialNumbers:
    """What the records say of each serial number, for whoever asks often.

    It holds the numbers, not the certificates, and before each answer reads what was appended since.
    """

    def __init__(self, records: CaRecords) -> None:
        self._issued_file = _GrowingFile(records.issued_path)
        self._revoked_file = _GrowingFile(records.revoked_path)
        self._issued: set[str] = set()
        self._revoked: dict[str, Revoked] = {}

    @property
    def version(self) -> tuple[int, int]:
        """Changes with each record. Raises OSError."""
        self._read_on()
        return self._issued_file.offset, self._revoked_file.offset

    def is_issued(self, serial: str) -> bool:
        """Whether a serial number (hex) is one of ours. Raises OSError."""
        self._read_on()
        return serial in self._issued

    def revocation_of(self, serial: str) -> Revoked | None:
        """The revocation of a serial number, None while it stands. Raises OSError."""
        self._read_on()
        return self._revoked.get(serial)

    def _read_on(self) -> None:
        for record in self._issued_file.read_on():
            self._issued.add(record["serial"])
        for record in self._revoked_file.read_on():
            self._revoked.setdefault(record["serial"], _entry(record))


class _GrowingFile:
    """A file of records, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0

    def read_on(self) -> Iterator[dict[str, Any]]:
        try:
            if self._path.stat().st_size == self.offset:
                return
        except FileNotFoundError:
            return
        with self._path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self.offset += len(line)
                yield json.loads(line)


def _entry(record: Mapping[str, Any]) -> Revoked:
    at = datetime.fromisoformat(record["at"])
    return Revoked(int(record["serial"], 16), at, x509.ReasonFlags(record["reason"]))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a file of records, oldest first; none if it is not there."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record; it is on disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        _give_to_owner_of_folder(descriptor, path)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)


def _give_to_owner_of_folder(descriptor: int, path: Path) -> None:
    """What root begins, the relay's own user must be able to go on with."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
