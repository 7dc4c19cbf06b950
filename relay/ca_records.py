"""The records of our CA: `issued.jsonl`, all it has signed, and `revoked.jsonl`, what no longer holds.

Both are only ever appended to, a line at a time and on disk before anything follows from it; so whoever
has read them need only read what came since. Knows nothing of keys or of revocation lists.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.pki.issuing import Revoked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from relay.pki.certificate import Certificate
    from relay.pki.issuing import Subject

__all__ = ["CaRecords", "IssuedCertificate", "RecordIndex", "append_record", "read_records"]

_MAX_RECORD_BYTES: Final = 262_144


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


class IssuedCertificate(NamedTuple):
    """What the records hold of a certificate, but for the certificate; `pem_sha256` tells it from a forged one."""

    serial: str
    name: str
    spki: str
    not_before: datetime
    not_after: datetime
    pem_sha256: bytes


class RecordIndex:
    """The records by serial number, key and name, for whoever asks often, from any thread.

    Before each answer it reads what was appended since. Every method may raise OSError.
    """

    def __init__(self, records: CaRecords) -> None:
        self._issued_file = _GrowingFile(records.issued_path)
        self._revoked_file = _GrowingFile(records.revoked_path)
        self._lock = threading.Lock()
        self._by_serial: dict[str, IssuedCertificate] = {}
        self._by_key: dict[str, list[IssuedCertificate]] = {}
        self._by_name: dict[str, list[IssuedCertificate]] = {}
        self._revoked: dict[str, Revoked] = {}

    def version(self) -> tuple[int, int]:
        """Changes with each record."""
        self._read_on()
        return self._issued_file.offset, self._revoked_file.offset

    def find(self, serial: str) -> IssuedCertificate | None:
        """The certificate with a serial number (in hex), None if it is not one of ours."""
        self._read_on()
        return self._by_serial.get(serial)

    def revocation_of(self, serial: str) -> Revoked | None:
        """The revocation of a serial number, None while it stands."""
        self._read_on()
        return self._revoked.get(serial)

    def with_key(self, spki: str) -> tuple[IssuedCertificate, ...]:
        """Those with a public key, by its pin, oldest first."""
        self._read_on()
        return tuple(self._by_key.get(spki, ()))

    def end_of(self, spki: str) -> datetime | None:
        """When the last certificate with a public key ends, by its pin; None if there is none."""
        return max((each.not_after for each in self.with_key(spki)), default=None)

    def with_name(self, name: str) -> tuple[IssuedCertificate, ...]:
        """Those issued under a name, oldest first."""
        self._read_on()
        return tuple(self._by_name.get(name, ()))

    def _read_on(self) -> None:
        with self._lock:
            for record in self._issued_file.read_on():
                self._add(_issued(record))
            for record in self._revoked_file.read_on():
                self._revoked.setdefault(record["serial"], _entry(record))

    def _add(self, issued: IssuedCertificate) -> None:
        self._by_serial[issued.serial] = issued
        self._by_key.setdefault(issued.spki, []).append(issued)
        self._by_name.setdefault(issued.name, []).append(issued)


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


def _issued(record: Mapping[str, Any]) -> IssuedCertificate:
    return IssuedCertificate(
        record["serial"],
        sys.intern(record["name"]),
        record["spki"],
        datetime.fromisoformat(record["not_before"]),
        datetime.fromisoformat(record["not_after"]),
        hashlib.sha256(record["pem"].encode()).digest(),
    )


def _entry(record: Mapping[str, Any]) -> Revoked:
    at = datetime.fromisoformat(record["at"])
    return Revoked(int(record["serial"], 16), at, x509.ReasonFlags(record["reason"]))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a file of records, oldest first; none if it is not there."""
    try:
        whole, _, _ = path.read_bytes().rpartition(
            b"\n"
        )  # behind it one is being written, or never was
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in whole.splitlines() if line]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record; it is on disk when this returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _give_to_owner_of_folder(descriptor, path)
        _drop_half_record(file)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)


def _drop_half_record(file: BinaryIO) -> None:
    """What a full disk or a crash has left of a record, nobody has acted upon."""
    start = max(0, file.seek(0, os.SEEK_END) - _MAX_RECORD_BYTES)
    file.seek(start)
    end = file.read()
    whole = end.rfind(b"\n") + 1
    if whole < len(end):
        file.truncate(start + whole)


def _give_to_owner_of_folder(descriptor: int, path: Path) -> None:
    """What root begins, the relay's own user must be able to go on with."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
