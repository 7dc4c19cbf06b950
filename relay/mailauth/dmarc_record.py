"""The DMARC record of a domain (RFC 9989 4.7): what it asks for where its name was used and nothing proves it.

Records of RFC 7489 are read, too; `pct`, `rf` and `ri` say nothing any more. Where it is looked for,
and for which messages it counts, is not known here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote

from relay.remembered import remembered

__all__ = ["Disposition", "DmarcRecord", "Psd", "ReportAddress", "parse_dmarc_record"]


class Disposition(StrEnum):
    """What a domain asks to be done with a message, the mildest first."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Psd(StrEnum):
    """Whether names can be registered below a domain (psd=)."""

    YES = "y"
    NO = "n"
    UNSAID = "u"


class ReportAddress(NamedTuple):
    """A mailbox for aggregate reports, and the largest report it takes; None for any."""

    mailbox: str
    max_bytes: int | None = None

    @property
    def domain(self) -> str:
        """The host part, in lower case."""
        return self.mailbox.rpartition("@")[2].lower()


class DmarcRecord(NamedTuple):
    """What a record says.

    `policy` (p=) is None where the record asks for nothing that could be done (RFC 9989 4.10.1).
    `subdomain_policy` (sp=) and `absent_policy` (np=) are None where they are not there. `options` is
    fo= as it stands; it is for reports of single messages, which are not sent.
    """

    policy: Disposition | None
    subdomain_policy: Disposition | None = None
    absent_policy: Disposition | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: Psd = Psd.UNSAID
    is_test: bool = False
    report_to: tuple[ReportAddress, ...] = ()
    options: str = "0"

    def applied_to(self, *, own: bool, exists: bool) -> Disposition:
        """Return what it asks for the domain it is of, or for one below it (RFC 9989 4.10.1)."""
        assert self.policy is not None  # there is none to apply
        if own:
            return self.policy
        below = self.subdomain_policy if self.subdomain_policy is not None else self.policy
        return self.absent_policy if self.absent_policy is not None and not exists else below


_VERSION: Final = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG_NAME: Final = re.compile(r"[A-Za-z]+")
_TAG_VALUE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
_BLANKS: Final = " \t"
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):([^\s!,]+)(?:!([0-9]{1,9})([kmgt]?))?")
_MAILBOX: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+"
)
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_MAX_CHARACTERS: Final = 8 * 1024
_MAX_ADDRESSES: Final = 5


@remembered(1024, longest=1024)  # a text may have 64 kB
def parse_dmarc_record(text: str) -> DmarcRecord | None:
    """Read the text of a TXT record; None if it is no DMARC record."""
    version = _VERSION.match(text)  # RFC 9989 4.7: first, and spelled exactly so
    if version is None:
        return None
    tags: dict[str, str] = {}
    for part in text[version.end() : _MAX_CHARACTERS].split(";"):
        # Blanks are taken off before anything is matched: with them in a pattern, the time grows by their cube.
        name, equals, value = (each.strip(_BLANKS) for each in part.partition("="))
        if equals and _TAG_NAME.fullmatch(name) and _TAG_VALUE.fullmatch(value):
            tags.setdefault(name.lower(), value)  # syntax errors are as if they were not there
    uris = [each.strip() for each in tags.get("rua", "").split(",")]
    is_reported = any(_URI.fullmatch(each) for each in uris)
    policies = {name: _policy(tags[name]) for name in ("p", "sp", "np") if name in tags}
    policy = policies.get("p")
    if policy is None or None in policies.values():
        # RFC 9989 4.10.1: a mistake is no wish to have mail refused
        policies = {"p": Disposition.NONE if is_reported else None}
    return DmarcRecord(
        policy=policies["p"],
        subdomain_policy=policies.get("sp"),
        absent_policy=policies.get("np"),
        strict_dkim=tags.get("adkim", "").lower() == "s",
        strict_spf=tags.get("aspf", "").lower() == "s",
        psd=_psd(tags.get("psd", "")),
        is_test=tags.get("t", "").lower() == "y",
        report_to=tuple(each for uri in uris if (each := _report_address(uri)))[:_MAX_ADDRESSES],
        options=tags.get("fo", "0")
        if re.fullmatch("[01ds](:[01ds])*", tags.get("fo", ""))
        else "0",
    )


def _policy(value: str) -> Disposition | None:
    try:
        return Disposition(value.lower())
    except ValueError:
        return None


def _psd(value: str) -> Psd:
    try:
        return Psd(value.lower())
    except ValueError:
        return Psd.UNSAID


def _report_address(uri: str) -> ReportAddress | None:
    """Read mailto: (RFC 6068) with the size limit of RFC 7489 6.2; other ways are not known here."""
    found = _URI.fullmatch(uri)
    if found is None or found[1].lower() != "mailto":
        return None
    mailbox = unquote(found[2].partition("?")[0])
    if not _MAILBOX.fullmatch(mailbox):  # it goes into RCPT and To
        return None
    size = None if found[3] is None else int(found[3]) * _UNITS[found[4]]
    return ReportAddress(mailbox, size)
