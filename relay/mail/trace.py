"""The fields we put in front of a message: Received, who the certificate proves the sender to be, what was found.

Fields of our own name that come in are taken out, so that what the next hop reads in them is ours.
The body is never touched, and not copied unless something is taken out. Every value from elsewhere
(HELO, a certificate's name) is made harmless first. RFC 5321 4.4, RFC 3848, RFC 6531 4.3.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from relay.mail.authentication_results import FIELD_NAME, MethodResult
from relay.model import Endpoint, TrustStatus
from relay.names import IDENTITY_HEADER, PRODUCT
from relay.pki.certificate import MalformedCertificate

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from relay.mail.headers import Field, HeaderBlock
    from relay.mail.hygiene import Hygiene
    from relay.model import Envelope, Octets, TlsFacts, TrustDecision

__all__ = ["Arrival", "Origin", "origin_of", "stamp"]

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_TWO_DIGITS: Final = tuple(f"{number:02}" for number in range(60))
_OURS: Final = frozenset({IDENTITY_HEADER.lower().encode()})
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_NOT_IN_A_COMMENT: Final = re.compile(r"[^ !#-\'*-\[\]-~]")  # RFC 5322 3.2.2, and no quotes
_FOLD: Final = "\r\n\t"


class Arrival(Protocol):
    """How a message came to us; `policy.case.Case` is one."""

    @property
    def peer(self) -> Endpoint:
        """The client's address."""

    @property
    def tls(self) -> TlsFacts | None:
        """The client's TLS."""

    @property
    def hello(self) -> str:
        """The name the client gave in EHLO."""


class Origin(NamedTuple):
    """What our fields say of all messages of a session alike: where they come from."""

    received: str
    """Received, up to our own name."""
    identity: str
    """The identity field; "" if nobody is proven to be the sender."""
    is_encrypted: bool
    client: str
    """What the certificate is worth, for Authentication-Results; "" if none is asked for."""


def origin_of(facts: Arrival, decision: TrustDecision | None) -> Origin:
    """Put into words how a session's messages come, and who sends them.

    Args:
        facts: how they come.
        decision: who sends them; None where certificates are not asked for.
    """
    tls = facts.tls
    clauses = [f"Received: from {_name(facts.hello)}{_literal(facts.peer.address)}"]
    if tls is not None:
        clauses += [
            _tls(tls.version, tls.cipher, tls.cipher_bits, tls.group),
            _client(tls, decision),
        ]
    identity = client = ""
    if decision is not None:
        name = decision.identity.name if decision.identity and decision.is_trusted else ""
        client = _client_result(decision.status, name)
        if name:
            spki = tls.certificates[0].spki_sha256 if tls and tls.certificates else ""
            identity = _identity_field(decision.status, name, spki)
    return Origin(_FOLD.join(clauses), identity, is_encrypted=tls is not None, client=client)


def stamp(
    block: HeaderBlock,
    origin: Origin,
    *,
    envelope: Envelope,
    hostname: str,
    reference: str,
    now: datetime,
    tags: Sequence[tuple[str, str]] = (),
    reserved: frozenset[bytes] = frozenset(),
    results: str = "",
    forged: Collection[Field] = (),
    hygiene: Hygiene | None = None,
) -> list[Octets]:
    """Return the message with our fields in front, as pieces to send one after the other.

    Args:
        block: the message, its header found.
        origin: where it comes from.
        envelope: from whom and for whom.
        hostname: our name.
        reference: the transaction's id, which stands in the audit trail and in Received.
        now: the time, UTC.
        tags: more fields to add, as name and value; both are safe already.
        reserved: names in lower case of fields that only we may set, besides our own.
        results: the value of Authentication-Results; "" for none.
        forged: fields that claim to be ours and are not.
        hygiene: what of the header is not for those behind us.
    """
    received = origin.received if hygiene is None else hygiene.origin(origin.received)
    added = (
        f"{received}{_FOLD}"
        f"by {hostname} ({PRODUCT}) with {_protocol(origin, envelope)} id {reference}"
        f"{_for(envelope)};{_FOLD}{_date(now)}\r\n{origin.identity}"
    )
    if results:
        added += f"{FIELD_NAME}: {results}\r\n"
    for name, value in tags:
        added += f"{name}: {value}\r\n"
    if not block.is_separated:
        added += "\r\n"  # the message has no header: its first line must not look like one of ours
    names = _OURS | reserved if reserved else _OURS
    if hygiene is None:
        return [added.encode(), *block.without(names, forged)]
    return [added.encode(), *block.without(names, forged, hygiene.changes(block))]


def _protocol(origin: Origin, envelope: Envelope) -> str:
    word = "UTF8SMTP" if envelope.sender.smtputf8 else "ESMTP"  # RFC 6531 4.3
    return word + "S" if origin.is_encrypted else word  # RFC 3848: STARTTLS or implicit


# What is said of a client that is known is the same each time it comes.


@lru_cache(maxsize=1024)
def _identity_field(status: TrustStatus, identity: str, spki: str) -> str:
    field = f"{IDENTITY_HEADER}: {_comment_text(identity)}; status={status}"
    if spki:
        field += f";{_FOLD}spki=sha256:{spki}"
    return f"{field}\r\n"


@lru_cache(maxsize=1024)
def _client_result(status: TrustStatus, identity: str) -> str:
    """Say what the certificate is worth: a method of our own (RFC 8601 2.7.7), ignored by who does not know it."""
    properties = (("policy.status", status.value),)
    if identity:
        return str(MethodResult("tls-client", "pass", (("policy.identity", identity), *properties)))
    if status is TrustStatus.ABSENT:
        return str(MethodResult("tls-client", "none"))
    return str(MethodResult("tls-client", "fail", properties))


@lru_cache(maxsize=64)
def _tls(version: str, cipher: str, bits: int, group: str) -> str:
    """Write as Postfix does, so that its readers' log parsers understand."""
    exchange = f"{_FOLD} key-exchange {group}" if group else ""
    return f"(using {version} with cipher {cipher} ({bits}/{bits} bits){exchange})"


def _client(tls: TlsFacts, decision: TrustDecision | None) -> str:
    if not tls.certificates:
        return "(No client certificate presented)"
    try:
        name = tls.certificates[0].common_name
    except MalformedCertificate:
        name = "?"
    if decision is None or decision.identity is None or not decision.is_trusted:
        return f'(Client CN "{_comment_text(name)}" (not verified))'
    return _verified_client(name, decision.identity.name, decision.status)


@lru_cache(maxsize=1024)
def _verified_client(name: str, identity: str, status: TrustStatus) -> str:
    return (
        f'(Client CN "{_comment_text(name)}",{_FOLD} identity {_comment_text(identity)} ({status}))'
    )


def _for(envelope: Envelope) -> str:
    """Name the recipient if there is one only: several would disclose blind copies (RFC 5321 7.2)."""
    if len(envelope.recipients) != 1:
        return ""
    address = str(envelope.recipients[0].address)
    is_safe = address.isprintable() and (address.isascii() or envelope.sender.smtputf8)
    return f"{_FOLD}for <{address}>" if is_safe else ""


def _name(hello: str) -> str:
    return _NOT_IN_A_NAME.sub("?", hello[:255]) or "unknown"


@lru_cache(maxsize=4096)
def _literal(address: str) -> str:
    """Write the address as TCP-info (RFC 5321 4.4); a Unix socket has none."""
    found = Endpoint(address, 0).ip
    if found is None:
        return ""
    return f" ([IPv6:{found}])" if found.version == 6 else f" ([{found}])"


def _comment_text(text: str) -> str:
    return _NOT_IN_A_COMMENT.sub("?", text[:64])


def _date(now: datetime) -> str:
    """Write RFC 5322 3.3 date-time, whatever the locale."""
    return (
        f"{_DAYS[now.weekday()]}, {now.day} {_MONTHS[now.month - 1]} {now.year}"
        f" {_TWO_DIGITS[now.hour]}:{_TWO_DIGITS[now.minute]}:{_TWO_DIGITS[now.second]} +0000"
    )
