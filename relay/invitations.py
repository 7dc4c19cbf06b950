"""Invitations to enrol: a secret for one certificate, on disk as a digest, used once, ending by itself.

`invitations.jsonl` in the CA's folder, appended to only. What an invitation grants is fixed when it is
made. Knows nothing of requests or of HTTP.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from relay.ca_records import append_record, read_records
from relay.key_files import lock_folder
from relay.pki.issuing import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Invitation", "Invitations"]

_TOKEN_BYTES: Final = 24
"""192 random bits: nobody guesses one, so a plain digest keeps it."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the bearer of a token gets.

    `identity` are the keys of the `[[identity]]` that enrolling makes; None if there was one when the
    invitation was made, which then must be there still. `spki` is the key it has been used for, "" while
    it has not; `is_kept`, whether it has brought all that it promised.
    """

    digest: str
    subject: Subject
    lifetime: timedelta
    until: datetime
    identity: Mapping[str, Any] | None
    by: str
    spki: str = ""
    is_kept: bool = False


class Invitations:
    """The invitations of one CA. Constructing reads nothing; each call reads them anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "invitations.jsonl"

    def invite(
        self,
        subject: Subject,
        *,
        lifetime: timedelta,
        valid_for: timedelta,
        identity: Mapping[str, Any] | None,
        by: str,
    ) -> str:
        """Make an invitation; return its token, which is kept nowhere. Raises OSError.

        Args:
            subject: the name and names of the certificate.
            lifetime: how long the certificate will hold.
            valid_for: how long the token can be used.
            identity: see `Invitation`.
            by: who invites.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        record = {
            "act": "invited",
            "token": _digest(token),
            "name": subject.common_name,
            "names": list(subject.names),
            "lifetime": lifetime.total_seconds(),
            "until": (_now() + valid_for).isoformat(),
            "identity": None if identity is None else _to_json(identity),
            "at": _now().isoformat(),
            "by": by,
        }
        append_record(self._path, record)
        return token

    def find(self, name: str, token: str, now: datetime) -> Invitation | None:
        """The invitation that a token is for, used or not; None if it has ended or is another's."""
        found = self._read().get(_digest(token))
        if found is None or found.subject.common_name != name or now >= found.until:
            return None
        return found

    def claim(self, invitation: Invitation, spki: str) -> bool:
        """Use an invitation for a key; False if it has been used for another, or has been withdrawn."""
        with lock_folder(self._folder):
            known = self._read().get(invitation.digest)
            if known is None or known.spki not in {"", spki}:
                return False
            if not known.spki:
                self._note("claimed", invitation, spki=spki)
        return True

    def keep(self, invitation: Invitation) -> None:
        """Note that certificate and pin are there: whoever takes one of them away has the last word."""
        self._note("kept", invitation)

    def withdraw(self, name: str, by: str) -> int:
        """End the open invitations of a name; return how many there were."""
        found = [each for each in self.open(_now()) if each.subject.common_name == name]
        for each in found:
            self._note("withdrawn", each, by=by)
        return len(found)

    def open(self, now: datetime) -> list[Invitation]:
        """Those that can still be used, oldest first."""
        return [each for each in self._read().values() if not each.spki and now < each.until]

    def _note(self, act: str, invitation: Invitation, **fields: str) -> None:
        record = {"act": act, "token": invitation.digest, "at": _now().isoformat(), **fields}
        append_record(self._path, record)

    def _read(self) -> dict[str, Invitation]:
        found: dict[str, Invitation] = {}
        claims: dict[str, str] = {}
        kept: set[str] = set()
        for record in read_records(self._path):
            digest = record["token"]
            match record["act"]:
                case "invited":
                    found[digest] = _from_record(record)
                case "claimed":
                    claims[digest] = record["spki"]
                case "kept":
                    kept.add(digest)
                case "withdrawn":
                    found.pop(digest, None)
        return {
            digest: replace(each, spki=claims.get(digest, ""), is_kept=digest in kept)
            for digest, each in found.items()
        }


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _from_record(record: Mapping[str, Any]) -> Invitation:
    identity = record["identity"]
    return Invitation(
        record["token"],
        Subject(record["name"], tuple(record["names"])),
        timedelta(seconds=record["lifetime"]),
        datetime.fromisoformat(record["until"]),
        None if identity is None else _from_json(identity),
        record["by"],
    )


def _to_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no dates: they stand as `{"date": ...}`."""
    return {
        key: {"date": value.isoformat()} if isinstance(value, date) else value
        for key, value in identity.items()
    }


def _from_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: date.fromisoformat(value["date"]) if isinstance(value, dict) else value
        for key, value in identity.items()
    }


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
