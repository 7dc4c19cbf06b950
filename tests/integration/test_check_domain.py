"""`gatepost check domain`, and the doctor behind it, with a name server of others that signs and one that validates."""

import asyncio
import json

import pytest

from relay.doctor import Doctor
from relay.net.name_servers import find_name_servers
from relay.net.resolver import open_resolver
from relay.settings.dns import Dns
from tests.kit.command_line import gatepost
from tests.kit.dkim import ed25519_key, record, rsa_key
from tests.kit.name_servers import Knot, Unbound


def quoted(text):
    """As a zone file has it: in strings of 255 bytes at most."""
    return " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))


WELL = f"""\
@ MX 10 mx1
@ MX 20 mx2
@ TXT "v=spf1 include:_spf -all"
_spf TXT "v=spf1 a:mx1.well.test include:_more.well.test -all"
_more TXT "v=spf1 ip4:198.18.0.0/24 -all"
mx1 A 198.18.0.1
mx2 A 198.18.0.2
mx2 AAAA 2001:2::2
s1._domainkey TXT {quoted(record(rsa_key()))}
s2._domainkey TXT {quoted(record(ed25519_key()))}
_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@well.test"
_mta-sts TXT "v=STSv1; id=20261121"
_smtp._tls TXT "v=TLSRPTv1; rua=mailto:t@well.test"
_25._tcp.mx1 TLSA 3 1 1 {"ab" * 32}
_25._tcp.mx2 TLSA 3 1 1 {"cd" * 32}
""".replace("include:_spf ", "include:_spf.well.test ")
ILL = f"""\
@ MX 10 mx1
@ MX 20 nowhere
@ TXT "v=spf1 {"a:mx1.ill.test " * 11}-all"
mx1 A 198.18.0.3
s1._domainkey TXT {quoted(record(rsa_key(1024)))}
_mta-sts TXT "v=STSv1; id=!!"
_25._tcp.mx1 TLSA 3 1 1 {"ab" * 32}
"""
REVERSE = "1.0 PTR mx1.well.test.\n2.0 PTR mx2.well.test.\n"
REVERSE_6 = f"2.{'0.' * 18}0 PTR mx2.well.test.\n"
ZONES = {
    "test": "",  # where the walk for a DMARC record ends
    "well.test": WELL,
    "ill.test": ILL,
    "18.198.in-addr.arpa": REVERSE,
    "0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa": REVERSE_6,
}
SIGNED = frozenset({"well.test"})
POLICY = "version: STSv1\r\nmode: enforce\r\nmx: *.well.test\r\nmax_age: 604800\r\n"


@pytest.fixture(scope="module")
def server():
    with (
        Knot(ZONES, signed=SIGNED) as knot,
        Unbound(knot, tuple(ZONES), knot.keys("well.test")) as unbound,
    ):
        yield unbound


@pytest.fixture
def config(server, tmp_path):
    path = tmp_path / "gatepost.toml"
    path.write_text(
        'hostname = "edge.well.test"\n'
        f'[dns]\nservers = ["{server.address}"]\ntrust_ad = true\n'
        '[route."*"]\nhosts = ["mx.well.test"]\n'
        '[[listener]]\nname = "partners"\naddress = "127.0.0.1:2525"\n'
        'certificate = [{ chain = "edge.pem", key = "edge.key" }]\n'
        '[[dkim.key]]\ndomain = "well.test"\nselector = "s1"\nkey = "s1.pem"\n'
    )
    return path


def check(config, *arguments):
    outcome = gatepost("check", "domain", *arguments, "--json", "--config", config)
    (examined,) = json.loads(outcome.output)
    assert examined["failure"] == ""
    found = {(each["level"], each["topic"], each["text"]) for each in examined["findings"]}
    return outcome.code, found


def test_all_that_a_domain_publishes_is_found(config):
    code, found = check(config, "well.test", "--selector", "s2")
    policy = {each for each in found if each[1] == "mta_sts"}
    assert found - policy == {
        ("ok", "mx", "mx1.well.test mx2.well.test"),
        ("ok", "ptr", "mx1.well.test [198.18.0.1] has a confirmed name"),
        ("ok", "ptr", "mx2.well.test [198.18.0.2] has a confirmed name"),
        ("ok", "ptr", "mx2.well.test [2001:2::2] has a confirmed name"),
        ("ok", "spf", "3 of 10 look-ups, 3 deep"),
        ("ok", "dkim", "s1: RSA, 2048 bits"),
        ("ok", "dkim", "s2: Ed25519"),
        ("ok", "dmarc", "policy reject, of well.test"),
        ("ok", "tlsa", "mx1.well.test: 1 record(s)"),
        ("ok", "tlsa", "mx2.well.test: 1 record(s)"),
        ("ok", "tls_rpt", "mailto:t@well.test"),
    }
    # The record is there, and the policy it speaks of is not: nobody serves it here.
    ((level, _, text),) = policy
    assert (code, level) == (1, "error")
    assert text.startswith("the policy can't be had: ")


def test_what_is_wrong_with_a_domain_is_said(config):
    code, found = check(config, "ill.test", "--selector", "s1", "--selector", "s9")
    assert code == 1

    assert found >= {
        ("error", "mx", "nowhere.ill.test has no address"),
        ("warning", "ptr", "mx1.ill.test [198.18.0.3] has no name (PTR)"),
        ("warning", "dkim", "s1: only 1024 bits"),
        ("error", "dkim", "s9: there is no key"),
        ("error", "dmarc", "there is no DMARC record"),
        (
            "warning",
            "tlsa",
            "mx1.ill.test: our name server does not say that it is signed (DNSSEC)",
        ),
        ("warning", "tls_rpt", "nobody is told when TLS fails"),
    }
    topics = {(level, topic) for level, topic, _ in found}
    assert {("error", "spf"), ("error", "mta_sts")} <= topics


def test_a_domain_with_its_mta_sts_policy_is_well(server):
    async def fetch(url):
        assert url == "https://mta-sts.well.test/.well-known/mta-sts.txt"
        return POLICY.encode()

    async def examine():
        resolver = open_resolver(Dns(servers=(server.address,), trust_ad=True))
        try:
            doctor = Doctor(resolver, find_name_servers((server.address,)), fetch)
            return await doctor.examine("well.test", {"s1", "s2"})
        finally:
            await resolver.close()

    found = asyncio.run(examine())
    assert (found.failure, found.problems) == ("", ())
    assert "mode enforce" in {each.text for each in found.symptoms if each.topic == "mta_sts"}
