"""A list has come: is it one, of the right CA, newer than ours? Then it becomes an index file.

Where it comes from and when the next one is due is not known here. What takes long (a million entries
take two seconds) is one call without a loop, to be run in a thread. RFC 5280 5 and 6.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from relay.errors import GatepostError
from relay.pki.certificate import MalformedCertificate
from relay.pki.crl import (
    MAX_CRL_BYTES,
    MalformedCrl,
    check_crl,
    index_crl,
    issuer_ids,
    parse_crls,
)
from relay.revocation.folder import CrlFolder, ListKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from relay.pki.certificate import Certificate
    from relay.pki.crl import CertificateList
    from relay.pki.serial_index import IndexHeader

__all__ = ["RefusedCrl", "Taken", "take_crls"]


class RefusedCrl(GatepostError):
    """A list that is not used; the text says why, for the log."""


class Taken(NamedTuple):
    """A list that is in the folder now, or was there already; `delta_urls` are where deltas to it are."""

    file_name: str
    this_update: datetime
    next_update: datetime
    is_new: bool
    delta_urls: tuple[str, ...]


def take_crls(
    data: bytes,
    issuers: Sequence[Certificate],
    folder: CrlFolder,
    now: datetime,
    max_bytes: int = MAX_CRL_BYTES,
) -> list[Taken]:
    """Read one list, or all of a PEM file, and keep them.

    Args:
        data: the bytes.
        issuers: the CAs whose lists are wanted.
        folder: where they are kept.
        now: the time to judge by.
        max_bytes: the largest that is read.

    Raises:
        RefusedCrl: it is no list, or one of them must not be used; those before it are kept.
        OSError: the folder cannot be written.
    """
    try:
        return [_take(crl, issuers, folder, now) for crl in parse_crls(data, max_bytes)]
    except (MalformedCrl, MalformedCertificate) as error:
        raise RefusedCrl(str(error)) from error


def _take(
    crl: CertificateList, issuers: Sequence[Certificate], folder: CrlFolder, now: datetime
) -> Taken:
    issuer, key, previous = _find_issuer(crl, issuers, folder, now)
    assert crl.next_update is not None  # checked
    is_new = previous is None or _age(crl) != _age(previous)
    if is_new:
        # Whether a delta goes with the complete list at hand is seen when they are read together.
        folder.write(key, index_crl(crl, issuer))
    urls = crl.delta_urls.usable
    return Taken(key.file_name, crl.this_update, crl.next_update, is_new, urls)


def _age(listed: CertificateList | IndexHeader) -> tuple[datetime, int | None, int | None]:
    return listed.this_update, listed.number, listed.base_number


def _find_issuer(
    crl: CertificateList, issuers: Sequence[Certificate], folder: CrlFolder, now: datetime
) -> tuple[Certificate, ListKey, IndexHeader | None]:
    """Find the CA that has made a list, and what of it is in use; a CA may have had several keys."""
    named_so = [each for each in issuers if each.x509.subject == crl.issuer]
    fault = f"it is of another CA: {crl.issuer.rfc4514_string()}"
    for issuer in named_so:
        key = ListKey(issuer_ids(issuer), crl.scope.only, crl.scope.points, crl.is_delta)
        previous = folder.header(key.file_name)
        # A list that is stale still revokes, and look-ups say that it is: it is judged as of when it
        # counted. That it does not replace a newer one is checked all the same.
        then = now if crl.next_update is None else min(now, crl.next_update)
        found = check_crl(crl, issuer, then, previous=previous)
        if found is None:
            return issuer, key, previous
        fault = found
    raise RefusedCrl(fault)
