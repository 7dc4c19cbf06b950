"""Examines a domain from outside, as those do who get mail of it or send mail to it: what is published, and is it right?

SPF, DMARC, MTA-STS and TLS-RPT are read by checkdmarc; MX, reverse names, DKIM keys and TLSA by our own means.
Whether and when a domain is examined, and who hears of it, is not known here. RFC 7208 4.6.4, RFC 8461,
RFC 8460, RFC 7672.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from relay.errors import Unavailable
from relay.mail.idn import to_ascii
from relay.mailauth.key_record import STRONG_RSA_BITS, PublicKey, key_name, look_up_keys
from relay.pki.patterns import canonical_domain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    import dns.resolver

    from relay.net.name_servers import NameServer
    from relay.ports import Resolver
    from relay.settings.mailauth import Dkim

__all__ = ["Doctor", "Examination", "Symptom", "selectors_of"]

Level = Literal["ok", "warning", "error"]

_MAX_SPF_LOOKUPS: Final = 10  # RFC 7208 4.6.4
_MANY_SPF_LOOKUPS: Final = 9
_MAX_MX: Final = 10
_ABSENT: Final = "does not exist"


def selectors_of(dkim: Dkim, domain: str) -> set[str]:
    """Return the selectors of our own keys that must be published for a domain now."""
    wanted = canonical_domain(domain)
    return {
        key.selector
        for key in dkim.key
        if key.state == "active" and canonical_domain(key.domain) == wanted
    }


class Symptom(NamedTuple):
    """One thing found of a domain; `topic` is the standard that it is about, in lower case."""

    level: Level
    topic: str
    text: str


class Examination(NamedTuple):
    """All that was found of a domain; `failure` says why it could not be examined, "" if it was."""

    domain: str
    symptoms: tuple[Symptom, ...]
    failure: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not in order, one sentence each."""
        found = tuple(f"{each.topic}: {each.text}" for each in self.symptoms if each.level != "ok")
        return (self.failure, *found) if self.failure else found


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines domains.

    Args:
        resolver: for our own questions.
        servers: the name servers that checkdmarc asks.
        fetch: returns what an HTTPS address gives; raises Unavailable.
        timeout: for each question, in seconds.
    """

    resolver: Resolver
    servers: Sequence[NameServer]
    fetch: Callable[[str], Awaitable[bytes]]
    timeout: float = 2.0

    async def examine(self, domain: str, selectors: Collection[str] = ()) -> Examination:
        """Find out what is published of a domain; never raises for what is wrong with it.

        Args:
            domain: whose mail it is.
            selectors: the DKIM keys that must be there.
        """
        name = to_ascii(domain).lower().removesuffix(".")
        try:
            hosts, mx = await self._mx(name)
            await self.resolver.resolve(name, "TXT")  # whether there are answers at all
            await self.resolver.resolve(f"_dmarc.{name}", "TXT")
        except Unavailable as error:
            return Examination(domain, (), str(error))
        symptoms = [*mx]
        symptoms += await asyncio.to_thread(lambda: [*self._spf(name), *self._dmarc(name)])
        symptoms += await self._dkim(name, selectors)
        if hosts:
            reverse = await asyncio.gather(*(self._reverse(host) for host in hosts))
            symptoms += [symptom for each in reverse for symptom in each]
            symptoms += await self._transport_security(name, hosts)
        return Examination(domain, tuple(symptoms))

    # --- where mail goes --------------------------------------------------------------------

    async def _mx(self, domain: str) -> tuple[list[str], list[Symptom]]:
        answer = await self.resolver.resolve(domain, "MX")
        if not answer.exists:
            return [], [Symptom("error", "mx", "there is no such domain")]
        pairs = [record.partition(" ") for record in answer.records]
        pairs.sort(key=lambda pair: int(pair[0]))
        hosts = [host.removesuffix(".") for _, _, host in pairs[:_MAX_MX]]
        if hosts == [""]:  # RFC 7505 3
            return [], [Symptom("ok", "mx", "the domain takes no mail (null MX)")]
        if not hosts:
            text = "there is no MX: mail goes to the address of the domain itself, if it has one"
            return [], [Symptom("warning", "mx", text)]
        return hosts, [Symptom("ok", "mx", " ".join(hosts))]

    async def _reverse(self, host: str) -> list[Symptom]:
        """Look whether a host has addresses, and whether their names lead back to them."""
        found = []
        try:
            answers = [await self.resolver.resolve(host, kind) for kind in ("A", "AAAA")]
            addresses = [address for answer in answers for address in answer.records]
            if not addresses:
                found.append(Symptom("error", "mx", f"{host} has no address"))
            for address in addresses:
                text = await self._reverse_problem(address)
                level: Level = "warning" if text else "ok"
                found.append(
                    Symptom(level, "ptr", f"{host} [{address}] {text or 'has a confirmed name'}")
                )
        except Unavailable as error:
            found.append(Symptom("error", "ptr", str(error)))
        return found

    async def _reverse_problem(self, address: str) -> str:
        pointer = ip_address(address).reverse_pointer
        names = (await self.resolver.resolve(pointer, "PTR")).records
        if not names:
            return "has no name (PTR)"
        kind = "AAAA" if ":" in address else "A"
        for name in names[:_MAX_MX]:
            if address in (await self.resolver.resolve(name, kind)).records:
                return ""
        return f"is called {names[0]}, which is not there"

    # --- who may send -----------------------------------------------------------------------

    def _spf(self, domain: str) -> Iterator[Symptom]:
        from checkdmarc.spf import check_spf  # noqa: PLC0415  half a second, for examinations only

        result: Mapping[str, Any] = check_spf(domain, **self._asked())
        yield from _warnings("spf", result)
        if not result["valid"]:
            yield Symptom("error", "spf", _error_of(result, "there is no SPF record"))
            return
        lookups, depth = result["dns_lookups"], _depth_of(result["parsed"])
        text = f"{lookups} of {_MAX_SPF_LOOKUPS} look-ups, {depth} deep"
        yield Symptom("warning" if lookups >= _MANY_SPF_LOOKUPS else "ok", "spf", text)
        if (
            result["parsed"]["all"] in {"pass", "neutral", None}
            and not result["parsed"]["redirect"]
        ):
            yield Symptom("warning", "spf", "it does not end in -all or ~all: anybody may send")

    def _dmarc(self, domain: str) -> Iterator[Symptom]:
        from checkdmarc.dmarc import check_dmarc  # noqa: PLC0415  the same

        result: Mapping[str, Any] = check_dmarc(domain, **self._asked())
        yield from _warnings("dmarc", result)
        if not result["valid"]:
            yield Symptom("error", "dmarc", _error_of(result, "there is no DMARC record"))
            return
        policy, place = result["tags"]["p"]["value"], result["location"]
        yield Symptom("ok", "dmarc", f"policy {policy}, of {place}")
        if "rua" not in result["tags"]:
            yield Symptom("warning", "dmarc", "nobody gets reports (rua=)")

    async def _dkim(self, domain: str, selectors: Collection[str]) -> list[Symptom]:
        names = {selector: key_name(domain, to_ascii(selector)) for selector in selectors}
        keys = await look_up_keys(list(names.values()), self.resolver) if names else {}
        found = []
        for selector, name in names.items():
            key = keys[name]
            if not isinstance(key, PublicKey):
                found.append(Symptom("error", "dkim", f"{selector}: {key.reason}"))
            elif key.algorithm == "rsa-sha256" and key.bits < STRONG_RSA_BITS:
                found.append(Symptom("warning", "dkim", f"{selector}: only {key.bits} bits"))
            elif key.is_testing:
                found.append(Symptom("warning", "dkim", f"{selector}: is under test (t=y)"))
            else:
                kind = "Ed25519" if key.algorithm != "rsa-sha256" else f"RSA, {key.bits} bits"
                found.append(Symptom("ok", "dkim", f"{selector}: {kind}"))
        return found

    # --- how mail comes -----------------------------------------------------------------------

    async def _transport_security(self, domain: str, hosts: Sequence[str]) -> list[Symptom]:
        has_tlsa, tlsa = await self._tlsa(hosts)
        has_policy, policy = await self._mta_sts(domain, hosts)
        found = [*tlsa, *policy]
        if not has_tlsa and not has_policy:
            text = "neither MTA-STS nor DANE: senders may be talked out of TLS"
            found.append(Symptom("warning", "mta_sts", text))
        found += await asyncio.to_thread(lambda: list(self._tls_rpt(domain)))
        return found

    async def _tlsa(self, hosts: Sequence[str]) -> tuple[bool, list[Symptom]]:
        found = []
        for host in hosts:
            try:
                answer = await self.resolver.resolve(f"_25._tcp.{host}", "TLSA")
            except Unavailable as error:
                found.append(Symptom("error", "tlsa", str(error)))
                continue
            if answer.records:
                found.append(_tlsa_symptom(host, answer.records, is_signed=answer.is_authentic))
        return bool(found), found

    async def _mta_sts(self, domain: str, hosts: Sequence[str]) -> tuple[bool, list[Symptom]]:
        from checkdmarc import mta_sts  # noqa: PLC0415  the same

        def read_record() -> str:
            try:
                found = mta_sts.query_mta_sts_record(domain, **self._asked())
                mta_sts.parse_mta_sts_record(found["record"])
            except mta_sts.MTASTSRecordNotFound:
                return "absent"
            except mta_sts.MTASTSError as error:
                return str(error)
            return ""

        problem = await asyncio.to_thread(read_record)
        if problem == "absent":
            return False, []
        if problem:
            return True, [Symptom("error", "mta_sts", problem)]
        try:
            text = await self.fetch(f"https://mta-sts.{domain}/.well-known/mta-sts.txt")
            policy: Mapping[str, Any] = mta_sts.parse_mta_sts_policy(text.decode())["policy"]
        except (Unavailable, UnicodeDecodeError, mta_sts.MTASTSError) as error:
            return True, [Symptom("error", "mta_sts", f"the policy can't be had: {error}")]
        uncovered = [h for h in hosts if not mta_sts.mx_in_mta_sts_patterns(h, policy["mx"])]
        found = [
            Symptom("error", "mta_sts", f"the policy does not name the MX {host}")
            for host in uncovered
        ]
        level: Level = "ok" if policy["mode"] == "enforce" else "warning"
        return True, [Symptom(level, "mta_sts", f"mode {policy['mode']}"), *found]

    def _tls_rpt(self, domain: str) -> Iterator[Symptom]:
        from checkdmarc.smtp_tls_reporting import check_smtp_tls_reporting  # noqa: PLC0415  the same

        result: Mapping[str, Any] = check_smtp_tls_reporting(domain, **self._asked())
        if result["valid"]:
            yield Symptom("ok", "tls_rpt", " ".join(result["tags"]["rua"]["value"]))
        elif _ABSENT in result["error"]:
            yield Symptom("warning", "tls_rpt", "nobody is told when TLS fails")
        else:
            yield Symptom("error", "tls_rpt", result["error"])

    # --- checkdmarc -----------------------------------------------------------------------------

    def _asked(self) -> dict[str, Any]:
        """How checkdmarc is to ask: the servers that we ask, and not what it remembers."""
        from checkdmarc.utils import DNS_CACHE  # noqa: PLC0415  the same

        DNS_CACHE.clear()
        return {"resolver": _foreign_resolver(self.servers), "timeout": self.timeout, "retries": 1}


def _foreign_resolver(servers: Sequence[NameServer]) -> dns.resolver.Resolver:
    import dns.nameserver  # noqa: PLC0415  the same
    import dns.resolver  # noqa: PLC0415

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.DoTNameserver(*server.endpoint, hostname=server.tls_name)
        if server.tls_name
        else dns.nameserver.Do53Nameserver(*server.endpoint)
        for server in servers
    ]
    return resolver


def _tlsa_symptom(host: str, records: Sequence[str], *, is_signed: bool) -> Symptom:
    usages = {record.split()[0] for record in records}
    if not usages & {"2", "3"}:  # RFC 7672 3.1.3
        return Symptom("error", "tlsa", f"{host}: only usages that mail servers ignore")
    if not is_signed:
        text = f"{host}: our name server does not say that it is signed (DNSSEC)"
        return Symptom("warning", "tlsa", text)
    return Symptom("ok", "tlsa", f"{host}: {len(records)} record(s)")


def _warnings(topic: str, result: Mapping[str, Any]) -> Iterator[Symptom]:
    return (Symptom("warning", topic, str(each)) for each in result.get("warnings", ()))


def _error_of(result: Mapping[str, Any], absent: str) -> str:
    error = str(result["error"])
    return absent if error.endswith(f"{_ABSENT}.") else error


def _depth_of(parsed: Mapping[str, Any]) -> int:
    """How many records below each other SPF has to read."""
    below = [
        each["parsed"] for each in parsed["mechanisms"] if isinstance(each.get("parsed"), dict)
    ]
    if isinstance(parsed["redirect"], dict) and isinstance(parsed["redirect"].get("parsed"), dict):
        below.append(parsed["redirect"]["parsed"])
    return 1 + max(map(_depth_of, below), default=0)
