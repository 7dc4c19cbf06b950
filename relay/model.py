"""The nouns of Gatepost: plain values that every part speaks of.

Read this first. A *peer* is the TCP or TLS client, an *identity* is who its certificate proves it
to be, *sender* is MAIL FROM, *author* is the From header field, *next hop* is the MTA that we hand
a message to. Nothing here does I/O, reads a clock or decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from relay.pki.certificate import Certificate
    from relay.smtp.replies import Reply
    from relay.tls.clienthello import ClientHello

__all__ = [
    "Address",
    "Charge",
    "Delivery",
    "DnsAnswer",
    "Endpoint",
    "Envelope",
    "Identity",
    "Network",
    "Octets",
    "Recipient",
    "Restriction",
    "RestrictionKind",
    "Score",
    "Sender",
    "Suspension",
    "Tier",
    "TlsFacts",
    "TrustDecision",
    "TrustStatus",
]

_DAY = 86_400.0

Network = IPv4Network | IPv6Network
"""An address range."""

Octets = bytes | memoryview
"""A piece of a message that leaves us: of a large one a view, because a copy would take too long."""


class Endpoint(NamedTuple):
    """One end of a connection; a Unix socket has its path as `address` and port 0."""

    address: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.address
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The address as a number, IPv4-mapped IPv6 unwrapped; None for a Unix socket."""
        return _parse_ip(self.address)

    @property
    def is_local(self) -> bool:
        """Whether it is of our own side: this host, a private network, or a Unix socket."""
        return _is_local(self.address)


_LOCAL_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1",
        "10.0.0.0/8",  # RFC 1918 3
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598 7
        "169.254.0.0/16",
        "fe80::/10",
        "fc00::/7",  # RFC 4193 3.1
    )
)


@lru_cache(maxsize=4096)
def _is_local(address: str) -> bool:
    found = _parse_ip(address)
    return found is None or any(found in network for network in _LOCAL_NETWORKS)


@lru_cache(maxsize=4096)  # asked for each message of a connection
def _parse_ip(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


class Address(NamedTuple):
    """A mailbox, `local@domain`, as it stood on the wire (RFC 5321 4.1.2, RFC 6531 3.3).

    `local` keeps its spelling, quotes included; `domain` keeps its spelling too, and is "" only
    for the bare `postmaster` (RFC 5321 4.5.1). An address literal is a domain in brackets.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8."""
        return self.local.isascii() and self.domain.isascii()


class Sender(NamedTuple):
    """MAIL FROM: the reverse path and what came with it.

    `address` is None for the null sender `<>`. `size_bytes` is the declared SIZE (RFC 1870), 0 if
    none. `body` is "", "7BIT" or "8BITMIME" (RFC 6152). `ret` and `envid` are passed on as they
    came (RFC 3461).
    """

    address: Address | None
    size_bytes: int = 0
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""

    def __str__(self) -> str:
        return str(self.address) if self.address else ""


class Recipient(NamedTuple):
    """RCPT TO: the forward path and its DSN parameters as they came (RFC 3461)."""

    address: Address
    notify: str = ""
    orcpt: str = ""

    def __str__(self) -> str:
        return str(self.address)


@dataclass(slots=True)
class Envelope:
    """One transaction's sender and its accepted recipients."""

    sender: Sender
    recipients: list[Recipient] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What TLS came about on one leg.

    `version` is "TLSv1.2" or "TLSv1.3", `cipher` OpenSSL's name, `group` the key exchange group
    ("X25519MLKEM768", "x25519", ...; "" where unknown). `hello` is there where we were the server.
    `certificates` is the other side's chain, leaf first, as far as we have it: a resumed session
    may have the leaf only.
    """

    version: str
    cipher: str
    cipher_bits: int
    group: str
    resumed: bool
    server_name: str = ""
    hello: ClientHello | None = None
    certificates: tuple[Certificate, ...] = ()


class TrustStatus(StrEnum):
    """The words of the trust decision: SMTP reply, metric label and audit field alike.

    The revocation statuses exist from the start; `pki/trust.py` gives them once a revocation
    source is there to say so.
    """

    PINNED = "pinned"
    NAMED = "named"
    ABSENT = "absent"
    UNPINNED = "unpinned"
    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    SUSPENDED = "suspended"
    WEAK_KEY = "weak_key"
    WRONG_USAGE = "wrong_usage"
    MALFORMED = "malformed"


class Tier(StrEnum):
    """How far an identity is verified; limits hang on it."""

    NEW = "new"
    VERIFIED = "verified"
    TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why an identity may not send for now, who said so and when; `until` None: until it is restored.

    `reason` and `by` are for the operator; the client is not told.
    """

    reason: str
    by: str = ""
    at: datetime | None = None
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return self.until is not None and now > self.until


@dataclass(frozen=True, slots=True)
class Identity:
    """One `[[identity]]` of the allowlist.

    `pins` and `names` are in canonical spelling ("spki:sha256:<64 hex>", "cert:sha256:<64 hex>",
    "dns:mail.acme.example", "uri:spiffe://acme/billing"). `senders` and `recipients` are patterns:
    "user@domain", "@domain", "@.domain" (subdomains), "*"; None means no limit. `header_from` is "senders" (the author obeys `senders`
    too) or "any". `networks` None means anywhere. `policy` are paths of policy files. `chain` is "required" or "pin-only". `revocation` is
    "hard", "soft" or "off" for this identity alone, "" for what its anchor and the listener say.
    """

    name: str
    pins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    chain: str = "pin-only"
    revocation: str = ""
    senders: tuple[str, ...] | None = None
    recipients: tuple[str, ...] | None = None
    header_from: str = "senders"
    networks: tuple[Network, ...] | None = None
    tier: Tier = Tier.VERIFIED
    not_before: datetime | None = None
    not_after: datetime | None = None
    contact: str = ""
    policy: tuple[str, ...] = ()
    suspended: Suspension | None = None


_TRUSTED = frozenset({TrustStatus.PINNED, TrustStatus.NAMED})


@dataclass(frozen=True, slots=True)
class TrustDecision:
    """Who is this? `pki.trust.decide`'s answer.

    `identity` is there when the certificate was matched to one, also when it is refused for
    another cause (an expired one, say). `reason` is for people: one sentence, no secrets.
    `evidence` is for the audit and `gatepost explain`: flat, JSON-ready. `questions` are on their way
    to others (OCSP responders); once they are answered, the decision may be another.
    """

    status: TrustStatus
    identity: Identity | None
    reason: str
    evidence: dict[str, str] = field(default_factory=dict)
    questions: tuple[str, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """Pinned or named: the peer is who the identity says."""
        return self.status in _TRUSTED


class Delivery(NamedTuple):
    """What the next hop said to one message: `reply` is our reply too.

    `accepted` only if the next hop has the message. `elapsed` is the time at the next hop.
    `reason` says for the log and the audit what kept the message from it, "" if it answered.
    """

    accepted: bool
    reply: Reply
    route: str = ""
    host: str = ""
    endpoint: Endpoint | None = None
    tls: TlsFacts | None = None
    elapsed: timedelta = timedelta()
    reason: str = ""


class DnsAnswer(NamedTuple):
    """The records of one name and type, as text.

    Addresses and names are as usual, names without the last dot and in lower case; MX is "10
    mx.example.org", TLSA "3 1 1 <hex>". TXT is its strings joined (RFC 7208 3.3), bytes that are no
    UTF-8 as surrogate escapes. `exists` is False for NXDOMAIN. `is_authentic` is the AD bit
    of a resolver that is trusted to say so (RFC 4035 3.2.3).
    """

    records: tuple[str, ...] = ()
    exists: bool = True
    is_authentic: bool = False


class Charge(NamedTuple):
    """One use of a rate limit: `cost` of the `limit` that `period` seconds allow under `key`."""

    key: str
    cost: int
    limit: int
    period: float


class Score(NamedTuple):
    """One addition to a decaying sum: `weight` for `subject`, halved each `half_life` seconds.

    A subject is always added to with the same half-life.
    """

    subject: str
    weight: float
    half_life: float


class RestrictionKind(StrEnum):
    """What may be in force against somebody."""

    BAN = "ban"
    SUSPENSION = "suspension"
    REVOCATION = "revocation"


@dataclass(frozen=True, slots=True)
class Restriction:
    """A ban of a network ("192.0.2.0/24"), a suspension of an identity or a revoked key, in force.

    A network is spelled as `str()` of `ip_network` does, single addresses with their "/32" or
    "/128", so that one network is one subject; a key is its pin in canonical spelling. `since` and
    `until` are seconds since 1970; `until` None means for good. `times` counts how often it has been
    put in force, so that the next one can last longer; 0: it was taken back. `by` is a rule's or an operator's name.
    """

    kind: RestrictionKind
    subject: str
    reason: str
    by: str
    since: float
    until: float | None = None
    times: int = 1

    def is_in_force(self, now: float) -> bool:
        """Whether it counts at that moment."""
        return self.times > 0 and (self.until is None or now < self.until)

    @property
    def remembered_until(self) -> float | None:
        """When it may be forgotten: as long after its end as it lasted, within a day and 30 days."""
        if self.until is None:
            return None
        return self.until + min(max(self.until - self.since, _DAY), 30 * _DAY)

    def lifted(self, now: float) -> Restriction:
        """What is remembered of it once it has been taken back: over whatever the clocks say, forgiven."""
        return replace(self, until=now, times=0)
