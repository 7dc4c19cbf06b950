"""Settings as types: the configuration file, key by key. The field docstrings are the manual.

`docs/configuration.md` and the JSON schema are generated from here (`make docs`). Nothing here
reads a file; `config.py` does, and turns every mistake into file, line and remedy.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from relay.model import Endpoint, Network

__all__ = [
    "Admin",
    "Audit",
    "AuthenticationResults",
    "Ca",
    "CertificateFiles",
    "Checks",
    "Dkim",
    "DkimKey",
    "DmarcReports",
    "Dns",
    "Doctor",
    "Duration",
    "Est",
    "Limits",
    "Listener",
    "Log",
    "Policy",
    "Revocation",
    "RevocationAuthority",
    "Route",
    "Settings",
    "Size",
    "State",
    "Table",
    "Timeouts",
    "format_duration",
    "format_size",
    "is_host_name",
    "parse_duration",
    "parse_endpoint",
    "parse_network",
    "parse_size",
]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3,
          "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}  # fmt: skip


def parse_duration(value: Any) -> Any:
    """Read "30s", "5m", "1h30m", "7d"; other types pass to pydantic, which objects."""
    if not isinstance(value, str):
        raise ValueError('a duration is text with a unit; write it as "30s", "5m", "1h30m" or "7d"')  # noqa: TRY004
    if not re.fullmatch(r"(\d+(?:ms|[smhdw]))+", value):
        raise ValueError(f'{value!r} is no duration; write it as "30s", "5m", "1h30m" or "7d"')
    parts = re.findall(r"(\d+)(ms|[smhdw])", value)
    try:
        return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f'{value!r} is too long; write it as "30s", "5m" or "7d"') from None


def parse_size(value: Any) -> Any:
    """Read "64MiB", "25MB", "512KiB" or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZES:
        raise ValueError(
            f'{value!r} is no size; write it as "25MiB", "512KiB" or a number of bytes'
        )
    return int(found[1]) * _SIZES[found[2]]


def parse_network(value: Any) -> Any:
    """Read "192.0.2.0/24", "2001:db8::/32" or a single address."""
    try:
        if isinstance(value, str):  # ip_network takes numbers, too
            return ip_network(value)
    except ValueError:
        pass
    raise ValueError(
        f'{value!r} is no network; write it as "192.0.2.0/24", "2001:db8::/32" or one address'
    )


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Read "host:port", "192.0.2.1:25" or "[2001:db8::1]:25" (RFC 3986 3.2.2).

    Args:
        text: as the operator wrote it.
        default_port: the port if none is written; without it, a port must be there.

    Raises:
        ValueError: it is none; the text says how to write it.
    """
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text, re.ASCII)
    example = "mx.example.org:25" if default_port else "0.0.0.0:25"
    advice = f'write it as "{example}" or "[2001:db8::1]:25"'
    if found is None:
        raise ValueError(f'"{text}" is no address with a port; {advice}')
    if found[3] is None and default_port is None:
        raise ValueError(f'"{text}" names no port; {advice}')
    port = int(found[3] or default_port or 0)
    if port > 65535:
        raise ValueError(f"{port} is no port; use 1 to 65535")
    host = found[1] or found[2]
    is_sound = _is_ip(host, 6) if found[1] else (_is_ip(host, 4) or is_host_name(host))
    if not is_sound:
        raise ValueError(f'"{host}" is neither a host name nor an IP address; {advice}')
    return Endpoint(host, port)


def is_host_name(text: str) -> bool:
    """Whether it is a DNS name by RFC 1123 2.1, underscores allowed, as text or A-labels."""
    name = text.removesuffix(".")
    labels = name.split(".")
    # RFC 3696 2: a top-level domain is not all digits, so a mistyped IPv4 address is no name.
    return (
        len(name) <= 253
        and not labels[-1].isdigit()
        and all(re.fullmatch(r"\w(?:[\w-]{0,61}\w)?", label) for label in labels)
    )


def _is_ip(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def format_duration(value: timedelta) -> str:
    """Spell a duration as `parse_duration` reads it, in the largest unit that fits: "90s", "7d"."""
    milliseconds = round(value / timedelta(milliseconds=1))
    if not milliseconds:
        return "0s"
    whole = (unit for unit in ("d", "h", "m", "s") if milliseconds % (_UNITS[unit] * 1000) == 0)
    unit = next(whole, "ms")
    return f"{round(milliseconds / (_UNITS[unit] * 1000))}{unit}"


def format_size(value: int) -> str:
    """Spell a size as `parse_size` reads it, in the largest unit that fits: "64MiB"."""
    units = ("GiB", "MiB", "KiB", "GB", "MB", "kB")
    unit = next((unit for unit in units if value and value % _SIZES[unit] == 0), "")
    return f"{value // _SIZES[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(ms|[smhdw]))+$"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+\s*(B|kB|MB|GB|KiB|MiB|GiB)?$"},
            ]
        }
    ),
    Field(ge=0),
]
NetworkField = Annotated[
    Network,
    BeforeValidator(parse_network),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]


class Table(BaseModel):
    """A table of the configuration: frozen, unknown keys are mistakes, field docstrings are its manual."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, arbitrary_types_allowed=True
    )


class CertificateFiles(Table):
    """A certificate chain and its private key."""

    chain: Path
    """PEM file: our certificate first, then the intermediates."""

    key: Path
    """PEM file with the private key, unencrypted, readable by nobody else (mode 0600)."""


class AuthenticationResults(Table):
    """The header field that tells those behind the relay what it has found out of a message (RFC 8601)."""

    enabled: bool = True
    """Whether it is written. Those that come in under a name of ours are taken out in any case."""

    authserv_id: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,252})?$")
    """The name it is written under: one for all servers of yours, so that those behind them know it.
    Empty: `hostname`."""

    own_ids: tuple[str, ...] = ()
    """More names that only servers of yours write under, those behind the relay say: fields that come in
    under one of them are taken out, too."""


class Listener(Table):
    """An address where mail comes in, and what a client must show there."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Short name for logs, metrics and the audit: lower-case letters, digits, `-` and `_`."""

    address: str
    """Where to listen: `"0.0.0.0:25"`, `"[::]:465"`, `"127.0.0.1:2525"` or `"unix:/run/gatepost.sock"`."""

    tls: Literal["starttls", "implicit"] = "starttls"
    """`starttls`: the client asks for TLS (ports 25, 587); `implicit`: TLS from the first byte (465)."""

    client_certificate: Literal["required", "optional", "off"] = "required"
    """`required`: nobody speaks without a trusted certificate. `optional`: asked for, and whoever
    has none may send to the domains of `[route]` only. `off`: not asked for."""

    profile: Literal["modern", "intermediate"] = "intermediate"
    """`modern`: TLS 1.3 only. `intermediate`: TLS 1.2 too, with AEAD and forward secrecy only."""

    certificate: tuple[CertificateFiles, ...] = Field(min_length=1)
    """Our server certificates; SNI and the client's signature algorithms choose, the first is the default."""

    client_ca: tuple[Path, ...] = ()
    """PEM files of the CAs whose certificates identify clients by `names`; pins need none."""

    revocation: Literal["hard", "soft", "off"] = "soft"
    """What follows when a CA of `client_ca` cannot be heard about a certificate of its own. `soft`: only
    revoked ones are refused. `hard`: those that nothing is known of too, with 451, until something is.
    `off`: nobody is asked. A pinned certificate that no such CA vouches for is not concerned. An
    identity or a `[[revocation.authority]]` may say otherwise for itself."""

    must_staple: Literal["warn", "refuse"] = "warn"
    """What follows at a start and a reload if a certificate of `certificate` demands an OCSP answer beside it
    (RFC 7633) and there is none: `warn` says so and goes on, `refuse` does not start."""

    refusal: Literal["temporary", "permanent"] = "temporary"
    """How a client without a good certificate is refused: `temporary` (421, honest senders keep
    the mail and try again once you have fixed the pin) or `permanent` (550)."""

    terminate: Literal["next_command", "immediately"] = "next_command"
    """How a session ends whose client is not trusted any more (its pin was removed or has expired, it
    was suspended or revoked), within a second. `next_command`: the command at the next hop is
    finished and answered, so that a message that was taken is acknowledged; then 421. `immediately`:
    the connection is cut, also while the next hop is being asked."""

    proxy_protocol_from: tuple[NetworkField, ...] = ()
    """Networks of load balancers that must send a PROXY protocol header (v1 or v2)."""

    banner_delay: Duration = timedelta(0)
    """Wait this long before the banner; who talks earlier is refused (554 5.5.0)."""

    policy: tuple[str, ...] = ("defaults",)
    """The rules for this listener: files with `[[rule]]`s and `[lists]`, in this order; `"defaults"` stands
    for those that come with the relay. A later file replaces a rule of an earlier one by its name.
    `[]`: no rules but those of the allowlist."""

    remove_headers: tuple[str, ...] = ()
    """Header fields to take out of mail that comes in here: names, `"X-Internal-*"` for all that begin so, and
    `"defaults"` for what commonly tells of the inside (X-Originating-IP and its like, Bcc). A field that a
    signature in the message covers stays."""

    received: Literal["keep", "pseudonymise", "remove"] = "keep"
    """What becomes of Received fields of those before us, and of the client's name and address in ours.
    `pseudonymise`: names and addresses are replaced; one that comes again has the same pseudonym until the
    next start or reload, and the audit trail knows the real one. `remove`: the fields are taken out. Signed ones stay."""

    max_connections_per_address: int = Field(default=50, ge=0)
    """Connections from one address at a time, over all workers; 0: no limit."""


class Route(Table):
    """The next hop of recipient domains.

    The key is the domain, `"*.example.org"` for its subdomains, or `"*"` for the default route,
    which only identified senders may use.
    """

    hosts: tuple[str, ...] = Field(min_length=1)
    """Next hops in order of priority, `"host:port"` (port 25 if left out). The first that is
    healthy gets the mail."""

    tls: Literal["verify", "fingerprint", "off"] = "verify"
    """`verify`: chain and name must be right. `fingerprint`: one of `pins` must match instead.
    `off`: no TLS, only for loopback hosts, or with `unsafe_plaintext`."""

    handshake: Literal["starttls", "implicit"] = "starttls"
    """How TLS starts at the next hop."""

    ca: tuple[Path, ...] = ()
    """PEM files of the CAs to trust for this route; empty: the system's."""

    server_name: str = ""
    """The name the next hop's certificate must have, and SNI; empty: the host's own name."""

    pins: tuple[str, ...] = ()
    """Public key pins for `tls = "fingerprint"`: `"spki:sha256:..."` or `"cert:sha256:..."`."""

    client_certificate: CertificateFiles | None = None
    """Our certificate towards this next hop."""

    unsafe_plaintext: bool = False
    """Allows `tls = "off"` to a host that is not loopback. Mail then crosses the network in clear."""

    xclient: bool = False
    """Tell the next hop the client's address, name and identity (LOGIN) by XCLIENT, if it offers it."""

    xforward: bool = False
    """The same by XFORWARD, for its logs only."""

    verify_recipients: bool = True
    """Ask the next hop at RCPT time, so that its refusal is our refusal, recipient by recipient."""

    recipient_cache: Duration = timedelta(minutes=5)
    """How long the answer "yes" of the next hop to a recipient is remembered; "no" at most a minute."""

    remove_headers: tuple[str, ...] = ()
    """Header fields to take out of mail that goes this way, besides those of the listener: see there."""

    received: Literal["keep", "pseudonymise", "remove"] = "keep"
    """What becomes of Received fields on this way; the stricter word, this or the listener's, counts."""

    max_connections: int = Field(default=100, ge=1)
    """Connections to one next hop, per worker."""

    max_messages_per_connection: int = Field(default=0, ge=0)
    """Messages on one connection before a new one is made; 0: no limit."""

    idle_timeout: Duration = timedelta(seconds=60)
    """An unused connection is closed after this time."""

    connect_timeout: Duration = timedelta(seconds=30)
    """TCP connection and TLS handshake, each."""

    command_timeout: Duration = timedelta(minutes=5)
    """Banner, EHLO, MAIL and RCPT, each (RFC 5321 4.5.3.2: 5 minutes)."""

    data_timeout: Duration = timedelta(minutes=3)
    """Each block of the message (RFC 5321 4.5.3.2.5: 3 minutes), and the 354 before it."""

    final_timeout: Duration = timedelta(minutes=10)
    """The reply to the final dot (RFC 5321 4.5.3.2.6: 10 minutes)."""


class Limits(Table):
    """What one client, one message and all of them together may take."""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections at a time, over all listeners and workers."""

    max_message_bytes: Size = 64 * 1024**2
    """Largest message, offered as SIZE; a smaller SIZE of the next hop wins."""

    max_recipients: int = Field(default=1000, ge=100)
    """Recipients of a message (RFC 5321 4.5.3.1.8: at least 100), offered as LIMITS RCPTMAX."""

    max_messages_per_connection: int = Field(default=0, ge=0)
    """Messages on one connection, then 421; 0: no limit."""

    max_line_bytes: int = Field(default=998, ge=998)
    """Longest line of a message without CRLF (RFC 5321 4.5.3.1.6: 998)."""

    max_errors: int = Field(default=10, ge=1)
    """Refused or wrong commands on a connection before it ends with 421."""

    max_received: int = Field(default=50, ge=10)
    """Received header fields before a message counts as looping (RFC 5321 6.3)."""

    memory_budget: Size = 1024**3
    """Memory for message bodies in flight, over all workers; 452 when it is spent."""


class Timeouts(Table):
    """How long a client may take. Each is for a whole phase: a byte a second gains no time."""

    handshake: Duration = timedelta(seconds=30)
    """A TLS handshake, and the PROXY protocol header."""

    greeting: Duration = timedelta(seconds=60)
    """From the connection to the client's identification (the end of the handshake and EHLO)."""

    command: Duration = timedelta(minutes=5)
    """One command (RFC 5321 4.5.3.2.7: 5 minutes)."""

    data: Duration = timedelta(minutes=10)
    """A message, plus what `data_rate` grants for its size."""

    data_rate: Size = 1024
    """Bytes a second that a sender must at least reach in a message longer than `data` allows."""

    drain: Duration = timedelta(seconds=30)
    """At a stop: how long transactions in flight may take to finish."""


class RevocationAuthority(Table):
    """Where the lists of one CA are, besides what its certificates say, and how strictly they count."""

    certificate: Path
    """PEM file of the CA that signs the lists: one of `client_ca`, or an intermediate below one."""

    mode: Literal["hard", "soft", "off"] | None = None
    """For all certificates that lead to this CA as their anchor; left out: as the listener says."""

    crl_files: tuple[Path, ...] = ()
    """Its lists as files, PEM or DER, complete or delta; read again when they change."""

    crl_urls: tuple[str, ...] = ()
    """Its lists as `http://` or `https://` addresses."""

    ocsp_urls: tuple[str, ...] = ()
    """OCSP responders for the certificates it has issued, asked before those that the certificates name."""


class Revocation(Table):
    """Revocation lists and OCSP: who is asked, where, how often, how long.

    What has been learnt is kept in `state_dir`, so that a restart needs no network. Lists are fetched from where the certificates of known clients say (CRL distribution points), once
    such a client has come, and from what `[[revocation.authority]]` adds; OCSP responders are asked about
    known clients in the same way. How strictly the outcome counts is the listener's `revocation`.
    """

    sources: tuple[Literal["crl", "ocsp"], ...] = Field(default=("crl", "ocsp"), min_length=1)
    """Who is asked, in this order; the second only where the first does not know."""

    fetch: bool = True
    """Whether to fetch lists and to ask responders at all; without, only `crl_files` count."""

    timeout: Duration = timedelta(seconds=60)
    """For one list, from the name look-up to the last byte."""

    ocsp_timeout: Duration = timedelta(seconds=5)
    """For the answer about one certificate, from all its responders together. A client of whose certificate
    nothing is known yet waits so long at most, once."""

    ocsp_nonce: Literal["off", "offer", "require"] = "off"
    """`offer` sends a nonce, `require` takes no answer without it. Most responders make their answers in
    advance and have none; then an answer counts until its nextUpdate."""

    ocsp_clock_skew: Duration = timedelta(minutes=5)
    """How far apart a responder's clock and ours may be."""

    max_crl_bytes: Size = 128 * 1024**2
    """Largest list; one of a million entries has 44 MB."""

    grace: Duration = timedelta(hours=1)
    """How long a list still counts after its nextUpdate: CAs publish late."""

    refresh: Duration = timedelta(hours=1)
    """How often to look for a newer list or answer at the longest; the nearer nextUpdate, the more often.
    An OCSP answer without nextUpdate counts so long."""

    retry: Duration = timedelta(seconds=10)
    """How long to wait after a failure; the wait doubles with each, up to `refresh`."""

    allow_private_addresses: bool = False
    """Whether to fetch from private, loopback and link-local addresses: needed for a CA of your own
    in your own network. Otherwise a certificate could make the relay call on inside services."""

    authority: tuple[RevocationAuthority, ...] = ()
    """CAs of which there is more to say."""


class Audit(Table):
    """The audit trail: one JSON line a handshake, refusal, transaction and administrative act."""

    path: Path = Path("audit.jsonl")
    """The file, appended to; relative to `state_dir`. Reopened at SIGUSR1 (log rotation)."""

    sync: Literal["second", "always"] = "second"
    """`second`: on disk within a second. `always`: on disk before each reply."""


class Log(Table):
    """The application log, on standard error."""

    format: Literal["auto", "human", "json"] = "auto"
    """`auto`: for people on a terminal, JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged at all."""


class Ca(Table):
    """Our own CA: where its files are, and where the world finds what it publishes."""

    folder: Path = Path("ca")
    """The CA's folder, as `gatepost ca init` makes it."""

    url: str = Field(default="", pattern=r"^(https?://[^\s/]+(/\S*)?)?$")
    """Where the world finds `crl.der` and `root-crl.der`, as `"http://ca.example.org"`: each certificate then
    says where its list is and, if the relay answers at `address`, that OCSP is asked at `/ocsp` below it.
    Empty: it says neither."""

    address: str = ""
    """Where the relay publishes the lists and answers OCSP, in plain HTTP, for both are signed: `"0.0.0.0:80"`. It
    makes new lists in time, if it can read the key of the issuing CA. Empty: nowhere; a web server of
    yours may publish what `gatepost ca crl` makes."""


class Est(Table):
    """Enrolment over the wire (EST, RFC 7030): partners get and renew certificates of our CA by themselves."""

    address: str = ""
    """Where to listen, with TLS: `"0.0.0.0:8443"`. Empty: nobody enrols."""

    certificate: CertificateFiles | None = None
    """Our certificate there; the names in it are those that partners ask for."""

    lifetime: Duration = timedelta(days=90)
    """How long a certificate holds at most that is renewed there, and one by invitation if that says nothing else."""


class Admin(Table):
    """State and figures of this relay over HTTP, for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`."""

    address: str = ""
    """Where to listen, in plain HTTP: `"127.0.0.1:9025"` or `"unix:/run/gatepost/admin.sock"`. Empty: nowhere."""

    unsafe_bind: bool = False
    """Allows an `address` that is not of this machine alone. Whoever reaches it then reads how much mail passes here."""


class DmarcReports(Table):
    """Aggregate reports for domains that ask for them in their DMARC record (RFC 9990), sent once a day.

    Messages count of which rules have asked DMARC. The mail goes by `[route]`; keys of `[[dkim.key]]` for the
    sender's domain sign it.
    """

    enabled: bool = False
    """Whether domains are told what was seen of mail in their name."""

    sender: str = Field(default="", pattern=r"^([A-Za-z0-9._+-]+@[A-Za-z0-9._-]+)?$")
    """Who sends them, envelope and From, and whom to write to about them: `"dmarc@example.org"`."""

    max_bytes: Size = 10 * 1024**2
    """The largest report, as mail; a domain may ask for less."""


class Dns(Table):
    """How names are looked up. Answers are kept in memory, in each worker, as long as their TTL allows."""

    servers: tuple[str, ...] = ()
    """Name servers in order of preference: `"127.0.0.1"`, `"[2001:db8::53]:5353"`, or
    `"tls://192.0.2.53#dns.example.org"` for DNS over TLS to a server of that name. Empty: those of
    `/etc/resolv.conf`."""

    timeout: Duration = timedelta(seconds=2)
    """How long to wait for one server."""

    attempts: int = Field(default=3, ge=1, le=10)
    """How often a question is put in all, to the servers in turn. Without an answer then, mail that
    depends on it is deferred."""

    max_in_flight: int = Field(default=500, ge=1, le=20_000)
    """Questions under way at a time, per worker; more of them wait."""

    cache_bytes: Size = 16 * 1024**2
    """Memory for answers, per worker; the least used go first."""

    min_ttl: Duration = timedelta(seconds=5)
    """An answer is kept at least this long, so that a message is judged by one state of the DNS."""

    max_ttl: Duration = timedelta(days=1)
    """And at most this long."""

    negative_ttl: Duration = timedelta(minutes=15)
    """How long "there is no such name" or "no such record" is kept at most (RFC 2308 5)."""

    failure_ttl: Duration = timedelta(seconds=5)
    """How long a question that got no answer is not asked again (RFC 9520 3.2: 1 second to 5 minutes)."""

    trust_ad: bool = False
    """Whether the servers validate DNSSEC themselves and are believed to (RFC 4035 4.9.3): the bit AD of
    their answers counts then. Only for servers on this machine or over TLS."""


class DkimKey(Table):
    """A key that we sign with (DKIM, RFC 6376). `gatepost dkim new` makes one and writes this."""

    domain: str
    """The domain that signs: d=. Its keys with `use = ["author"]` sign mail whose From is of this domain, and
    of no subdomain."""

    selector: str
    """The name of the key below `_domainkey.` of the domain: s=."""

    key: Path
    """PEM file with the private key, RSA or Ed25519, unencrypted, readable by nobody else (mode 0600)."""

    use: tuple[Literal["author", "identity", "seal"], ...] = Field(
        default=("author",), min_length=1
    )
    """`author`: signs mail of the domain, if the identity that sends it may send as its author: `senders` says
    so by name. `identity`: signs the field that says who sent a message, on all mail, so that the next hop
    can verify it. `seal`: seals (ARC). All keys of a domain and use sign, an RSA and an Ed25519 key, say;
    of those to seal the first RSA key does."""

    state: Literal["next", "active", "retired"] = "active"
    """`next`: made, and to be published; it does not sign yet. `retired`: it signs no more, and its record
    stays until all that it has signed has arrived."""


class Dkim(Table):
    """What we sign, and with which keys. See [signing](dkim.md)."""

    folder: Path = Path("dkim")
    """Where `gatepost dkim new` puts keys."""

    lifetime: Duration = timedelta(0)
    """How long a signature holds (x=); 0: without end. Mail may be under way for five days."""

    key: tuple[DkimKey, ...] = ()
    """The keys."""


class Doctor(Table):
    """Domains that are examined from time to time, as `gatepost check domain` does.

    What has changed goes to the audit trail (`kind` is `domain`), the number of problems to the metrics.
    """

    domains: tuple[str, ...] = ()
    """Whose: `["example.org"]`. None: nothing is examined."""

    every: Duration = timedelta(days=1)
    """How often."""

    dkim_keys: tuple[str, ...] = ()
    """Keys of others that must be published, as `["google._domainkey.example.org"]`; our own active ones must anyway."""

    mail_to: str = ""
    """Who gets a mail when problems come or go, by `[route]`; empty: nobody."""

    sender: str = ""
    """From whom; empty: postmaster at our `hostname`."""

    webhook: str = ""
    """An address that gets the same as JSON by POST; empty: none."""

    allow_private_addresses: bool = False
    """Whether to call on private and loopback addresses: for a webhook in your own network."""


class State(Table):
    """What workers and nodes remember together: counters of limits, reputation, bans. See [state](state.md)."""

    kind: Literal["sqlite", "redis", "memory"] = "sqlite"
    """`sqlite`: a file in `state_dir`, shared by all workers of this host. `redis`: a Valkey or Redis that
    any number of nodes share. `memory`: each worker for itself until it stops, for trials."""

    timeout: Duration = timedelta(seconds=1)
    """How long to wait for it; then the rules that need it do what their `on_error` says."""

    url: tuple[str, ...] = ()
    """For `redis`: `"redis://state.internal:6379"`, or `rediss://` for TLS. Several for `sentinel` and
    `cluster`: those to ask for the others."""

    topology: Literal["standalone", "sentinel", "cluster"] = "standalone"
    """`standalone`: one server. `sentinel`: `url` names the Sentinels. `cluster`: `url` names some nodes."""

    service: str = ""
    """With Sentinel, the name of the master."""

    database: int = Field(default=0, ge=0)
    """The number of the database; a Cluster has 0 only."""

    username: str = ""
    """The user of the ACL; empty: the default user."""

    password: SecretStr | None = None
    """Its password; better in `password_file`, or in a file that `$GATEPOST_STATE__PASSWORD_FILE` names."""

    password_file: Path | None = None
    """A file that holds the password and nothing else."""

    sentinel_username: str = ""
    """The user towards the Sentinels, if they have users of their own."""

    sentinel_password_file: Path | None = None
    """A file with the password towards the Sentinels; left out: they ask for none."""

    ca: Path | None = None
    """PEM file of the CAs to trust with `rediss://`; left out: the system's."""

    client_certificate: CertificateFiles | None = None
    """Our certificate, where the server asks for one."""

    prefix: str = Field(default="gatepost:", pattern=r"^[A-Za-z0-9._:-]{0,64}$")
    """What the names of all keys begin with. Relays with the same prefix are one fleet."""


class Policy(Table):
    """What the policy may do to clients. The rules stand in files of their own: see `listener.policy`."""

    exempt: tuple[NetworkField, ...] = ()
    """Networks that are never banned, whatever a rule says: monitoring, your own hosts. The relay's own
    addresses, loopback and the load balancers of `proxy_protocol_from` never are."""

    banned: Literal["permanent", "temporary"] = "permanent"
    """What a banned address hears instead of a banner: `permanent` (554) or `temporary` (421: honest
    senders keep the mail and come again)."""

    max_duration: Duration = timedelta(days=30)
    """The longest ban or suspension. Each one within the memory of the last lasts twice as long as that."""


class Checks(Table):
    """What checks find out, and what they may take for it. Each has a table of its own below this one."""

    timeout: Duration = timedelta(seconds=5)
    """How long a check may take that asks somebody else (the DNS, say), unless its own table has a
    `timeout`. What is not known by then is unknown, and the rule's `on_error` says what follows."""

    country_database: Path | None = None
    """A file in MaxMind's format (GeoLite2-Country.mmdb, say) for the fact `peer.country`. Needs the
    package maxminddb: `pip install "gatepost[country]"`."""


class Settings(Table):
    """The configuration file, `gatepost.toml`, plus what stands in `conf.d/*.toml` beside it."""

    hostname: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
    """Our name, in the banner, in EHLO towards next hops and in Received."""

    state_dir: Path = Path("state")
    """Folder for the audit trail, the control socket and all that is kept."""

    workers: int = Field(default=0, ge=0, le=256)
    """Worker processes; 0: one per core."""

    user: str = ""
    """The user the workers run as, if the relay is started as root; empty: no change. It has to be able to read
    Python and Gatepost."""

    allowlist: Path = Path("allowlist.toml")
    """The file with the identities (`[[identity]]`), written by hand or by `gatepost pin`."""

    listener: tuple[Listener, ...] = Field(min_length=1)
    """Where mail comes in."""

    route: dict[str, Route] = Field(min_length=1)
    """Where mail goes, by recipient domain."""

    ca: Ca = Ca()
    """Our own CA."""

    est: Est = Est()
    """Enrolment."""

    admin: Admin = Admin()
    """Probes and figures."""

    limits: Limits = Limits()
    """Limits."""

    timeouts: Timeouts = Timeouts()
    """Deadlines for clients."""

    state: State = State()
    """What is remembered."""

    policy: Policy = Policy()
    """What rules may do."""

    checks: Checks = Checks()
    """What rules may ask."""

    authentication_results: AuthenticationResults = AuthenticationResults()
    """What is told of what was found out."""

    revocation: Revocation = Revocation()
    """Revocation lists."""

    dns: Dns = Dns()
    """Name servers."""

    dkim: Dkim = Dkim()
    """Signatures of our own."""

    doctor: Doctor = Doctor()
    """Domains that are watched."""

    dmarc_reports: DmarcReports = DmarcReports()
    """Reports to others."""

    audit: Audit = Audit()
    """Evidence."""

    log: Log = Log()
    """Application log."""
