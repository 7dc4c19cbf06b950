"""Revocation by our CA: a record, a new list at once, and the answers of its OCSP responder.

Lists lie beside the CA: `crl.der` is the issuing CA's, `root-crl.der` the root's (about the issuing
CA itself), `crl.pem` both. Knows nothing of HTTP. RFC 5280 5, RFC 6960.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.errors import ConfigurationError
from relay.key_files import lock_folder, replace_file
from relay.pki.certificate import Certificate, parse_pem_chain
from relay.pki.issuing import issue_crl
from relay.pki.ocsp_responder import IssuedStatus, Responder, answer_request

if TYPE_CHECKING:
    from pathlib import Path

    from relay.ca_folder import CaFolder
    from relay.pki.issuing import Issuer

__all__ = ["CRL_LIFETIME", "OCSP_LIFETIME", "CaLists", "needs_new_list"]

CRL_LIFETIME: Final = timedelta(days=7)
OCSP_LIFETIME: Final = timedelta(hours=1)


class CaLists:
    """What a CA says about the certificates it has signed."""

    def __init__(self, ca: CaFolder) -> None:
        self._ca = ca
        self.path = ca.folder / "crl.der"
        self.root_path = ca.folder / "root-crl.der"
        self.pem_path = ca.folder / "crl.pem"

    def find(self, target: str) -> list[Certificate]:
        """The certificates of a name that are still valid, or the one with a serial number (hex).

        Raises:
            ConfigurationError: there is none.
        """
        now = datetime.now(UTC)
        serial = target.lower().replace(":", "").lstrip("0")
        known = [parse_pem_chain(each["pem"].encode())[0] for each in self._ca.issued()]
        known += self._ca.intermediates()
        by_serial = [each for each in known if each.serial == serial]
        by_name = [each for each in known if each.common_name == target and each.not_after >= now]
        if found := by_serial or by_name:
            return found
        raise ConfigurationError(
            f"no valid certificate with the name or serial number {target!r} was issued",
            remedy="see `gatepost cert list`",
        )

    def revoke(
        self, target: str, reason: x509.ReasonFlags, by: str, passphrase: bytes | None = None
    ) -> list[dict[str, Any]]:
        """Revoke what `find` finds and publish new lists. Returns the records that are new.

        Raises:
            ConfigurationError: there is no such certificate, it is revoked, or a key does not open.
        """
        found = [
            each
            for each in self.find(target)
            if self._ca.records.revocation_of(each.serial) is None
        ]
        if not found:
            raise ConfigurationError(f"{target} is revoked already", remedy="nothing is to be done")
        issuer = self._ca.issuer(passphrase)  # what cannot be published is not begun
        now = _now()
        records = [self._ca.records.add_revoked(each, reason, now, by) for each in found]
        self.publish(issuer, passphrase=passphrase)
        return records

    def publish(
        self,
        issuer: Issuer,
        *,
        valid_for: timedelta = CRL_LIFETIME,
        passphrase: bytes | None = None,
    ) -> x509.CertificateRevocationList:
        """Sign and write the lists; the root's only where the root's key is at hand.

        Returns:
            The issuing CA's list.
        """
        with lock_folder(self._ca.folder):
            made = self._sign(issuer, self.path, valid_for)
            lists = [made]
            if self._ca.issuing_path.exists() and self._ca.key_path.exists():
                lists.append(self._sign(self._ca.root(passphrase), self.root_path, valid_for))
            elif self.root_path.exists():
                lists.append(x509.load_der_x509_crl(self.root_path.read_bytes()))
            pem = b"".join(each.public_bytes(Encoding.PEM) for each in lists)
            replace_file(self.pem_path, pem)
        return made

    def _sign(
        self, issuer: Issuer, path: Path, valid_for: timedelta
    ) -> x509.CertificateRevocationList:
        now = _now()
        revoked = self._ca.records.revoked_by(Certificate(issuer.certificate))
        number = _next_number(path, now)
        made = issue_crl(issuer, revoked, number, now, now + valid_for)
        replace_file(path, made.public_bytes(Encoding.DER))
        return made

    def status_of(self, serial: int) -> IssuedStatus | None:
        """What the responder has to say about a serial number; implements `StatusOfSerial`."""
        text = f"{serial:x}"
        if found := self._ca.index.revocation_of(text):
            return IssuedStatus(found.at, found.reason)
        return IssuedStatus() if self._ca.index.find(text) else None

    def answer(self, request: bytes, issuer: Issuer) -> bytes:
        """Answer an OCSP request about a certificate of `issuer`, signed by itself."""
        responder = Responder(issuer.certificate, issuer.certificate, issuer.key)
        return answer_request(request, self.status_of, responder, _now(), OCSP_LIFETIME)


def needs_new_list(path: Path, now: datetime) -> bool:
    """Whether a list is missing, unreadable, or past half of its life."""
    try:
        known = x509.load_der_x509_crl(path.read_bytes())
    except (OSError, ValueError):
        return True
    end = known.next_update_utc
    return end is None or now - known.last_update_utc >= (end - known.last_update_utc) / 2


def _next_number(path: Path, now: datetime) -> int:
    """More than the last, and than any before it: with the clock it grows even if a file is lost."""
    try:
        last = x509.load_der_x509_crl(path.read_bytes())
        number = last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (OSError, ValueError, x509.ExtensionNotFound):
        number = 0
    return max(number + 1, int(now.timestamp()))  # RFC 5280 5.2.3


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
