"""The resolver, and SPF over it, with name servers of others: Knot, and Unbound, which validates."""

import asyncio
from ipaddress import ip_address

import pytest
import uvloop

from relay.errors import Unavailable
from relay.mailauth.spf import Claim, evaluate
from relay.model import DnsAnswer
from relay.net.name_servers import parse_name_server
from relay.net.resolver import DnsResolver
from relay.settings.dns import Dns
from tests.kit.name_servers import Knot, Unbound

LONG = " ".join(f'"{"abcdefghij" * 25}"' for _ in range(8))
RECORDS = f"""\
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ MX 20 MX2
@ MX 10 mx1
@ TXT "v=spf1 " "mx -all"
mx1 A 192.0.2.10
mx2 A 192.0.2.20
www CNAME next
next CNAME @
nowhere CNAME missing
long TXT {LONG}
bytes TXT "\\255\\252"
_25._tcp TLSA 3 1 1 {"AB" * 32}
null MX 0 .
deep.er A 192.0.2.7
"""
WRONG_KEY = "bogus.test. IN DS 12345 13 2 " + "ab" * 32 + "\n"


@pytest.fixture(scope="module")
def knot():
    zones = dict.fromkeys(("plain.test", "signed.test", "bogus.test"), RECORDS)
    with Knot(zones, signed=frozenset({"signed.test"})) as running:
        yield running


@pytest.fixture(scope="module")
def unbound(knot):
    anchors = knot.keys("signed.test") + WRONG_KEY
    with Unbound(knot, ("plain.test", "signed.test", "bogus.test"), anchors) as running:
        yield running


@pytest.fixture(params=["knot", "unbound"])
def server(request):
    return request.getfixturevalue(request.param)


def with_resolver(server, work, **more):
    async def run():
        settings = Dns(**{"timeout": "3s", "attempts": 2, "trust_ad": True} | more)
        resolver = DnsResolver(settings, [parse_name_server(server.address)])
        try:
            return await work(resolver)
        finally:
            await resolver.close()

    return uvloop.run(asyncio.wait_for(run(), 30))


def resolve(server, name, kind):
    async def work(resolver):
        return await resolver.resolve(name, kind), resolver.counts

    return with_resolver(server, work)


NOBODY = None
"""No such name."""


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("{}", "A", {"192.0.2.1"}),
        ("{}", "AAAA", {"2001:db8::1"}),
        ("{}", "MX", {"10 mx1.{}", "20 mx2.{}"}),
        ("{}", "TXT", {"v=spf1 mx -all"}),
        ("www.{}", "A", {"192.0.2.1"}),
        ("WWW.{}.", "MX", {"10 mx1.{}", "20 mx2.{}"}),
        ("bytes.{}", "TXT", {"\udcff\udcfc"}),
        ("_25._tcp.{}", "TLSA", {"3 1 1 " + "ab" * 32}),
        ("null.{}", "MX", {"0 "}),
        ("mx1.{}", "MX", set()),
        ("er.{}", "A", set()),
        ("missing.{}", "A", NOBODY),
        ("nowhere.{}", "A", NOBODY),
    ],
)
@pytest.mark.parametrize("zone", ["plain.test", "signed.test"])
def test_a_name_server_is_understood(server, zone, name, kind, records):
    answer, counts = resolve(server, name.format(zone), kind)
    assert set(answer.records) == {record.format(zone) for record in records or ()}
    assert answer.exists is (records is not NOBODY)
    # Knot serves the zones itself: who has the authority does not validate.
    assert answer.is_authentic is (isinstance(server, Unbound) and zone == "signed.test")
    assert counts.connections == 0


def test_what_does_not_fit_into_a_datagram_comes_by_tcp(server):
    answer, counts = resolve(server, "long.plain.test", "TXT")
    assert answer.records == ("abcdefghij" * 200,)
    assert counts.connections == 1


def test_a_zone_whose_signatures_are_wrong_gives_no_answer(unbound):
    with pytest.raises(Unavailable, match="SERVFAIL"):
        resolve(unbound, "bogus.test", "A")


def test_the_bit_ad_is_not_believed_unasked(unbound):
    async def work(resolver):
        return await resolver.resolve("signed.test", "A")

    assert not with_resolver(unbound, work, trust_ad=False).is_authentic


def test_a_server_that_is_killed_and_comes_back(knot):
    with Knot({"plain.test": RECORDS}) as mortal:

        async def work(resolver):
            before = await resolver.resolve("plain.test", "A")
            await asyncio.to_thread(mortal.stop)
            kept = await resolver.resolve("plain.test", "A")
            with pytest.raises(Unavailable):
                await resolver.resolve("mx1.plain.test", "A")
            await asyncio.to_thread(mortal.start)
            return before, kept, await resolver.resolve("mx1.plain.test", "A")

        before, kept, after = with_resolver(mortal, work, timeout="300ms", failure_ttl="0s")
    assert before == kept == DnsAnswer(("192.0.2.1",))
    assert after == DnsAnswer(("192.0.2.10",))


@pytest.mark.parametrize(
    ("ip", "domain", "expected"),
    [
        ("192.0.2.10", "plain.test", "pass"),
        ("192.0.2.20", "signed.test", "pass"),
        ("192.0.2.1", "signed.test", "fail"),
        ("192.0.2.1", "mx1.plain.test", "none"),
        ("192.0.2.10", "bogus.test", "temperror"),
    ],
)
def test_spf_over_a_validating_resolver(unbound, ip, domain, expected):
    async def work(resolver):
        return await evaluate(Claim(ip_address(ip), "bob", domain, "mx.example"), resolver)

    assert with_resolver(unbound, work).result == expected
