"""What is published of a domain, and what is wrong with it; checkdmarc asks the test's own name server."""

from __future__ import annotations

import asyncio

import pytest

from relay.doctor import Doctor, Examination, Symptom, selectors_of
from relay.errors import Unavailable
from relay.net.name_servers import find_name_servers
from relay.net.resolver import open_resolver
from relay.settings.dns import Dns
from relay.settings.mailauth import Dkim
from tests.kit.dkim import ed25519_key, record, rsa_key
from tests.kit.dns_server import DnsServer, Fault

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: *.good.example\r\nmax_age: 604800\r\n"
GOOD = {
    "good.example": {
        "TXT": "v=spf1 include:_spf.good.example -all",
        "MX": ["20 mx2.good.example", "10 mx.good.example"],
    },
    "_spf.good.example": {"TXT": "v=spf1 a:mx.good.example include:_more.good.example -all"},
    "_more.good.example": {"TXT": "v=spf1 ip4:192.0.2.0/24 -all"},
    "mx.good.example": {"A": "192.0.2.1"},
    "mx2.good.example": {"A": "192.0.2.2", "AAAA": "2001:db8::2"},
    "1.2.0.192.in-addr.arpa": {"PTR": "mx.good.example"},
    "2.2.0.192.in-addr.arpa": {"PTR": "mx2.good.example"},
    f"2.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": "mx2.good.example"},
    "s1._domainkey.good.example": {"TXT": record(rsa_key())},
    "s2._domainkey.good.example": {"TXT": record(ed25519_key())},
    "_dmarc.good.example": {"TXT": "v=DMARC1; p=reject; rua=mailto:d@good.example"},
    "_mta-sts.good.example": {"TXT": "v=STSv1; id=20261121"},
    "_25._tcp.mx.good.example": {"TLSA": "3 1 1 " + "ab" * 32},
    "_smtp._tls.good.example": {"TXT": "v=TLSRPTv1; rua=mailto:t@good.example"},
}
ALL_WELL = [
    "mx: mx.good.example mx2.good.example",
    "spf: 3 of 10 look-ups, 3 deep",
    "dmarc: policy reject, of good.example",
    "dkim: s1: RSA, 2048 bits",
    "dkim: s2: Ed25519",
    "ptr: mx.good.example [192.0.2.1] has a confirmed name",
    "ptr: mx2.good.example [192.0.2.2] has a confirmed name",
    "ptr: mx2.good.example [2001:db8::2] has a confirmed name",
    "tlsa: mx.good.example: 1 record(s)",
    "mta_sts: mode enforce",
    "tls_rpt: mailto:t@good.example",
]


def examine(
    zones, domain="good.example", selectors=("s1", "s2"), *, policy=POLICY, faults=None, secure=True
):
    async def fetch(url):
        assert url == f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        if isinstance(policy, Exception):
            raise policy
        return policy

    async def run(server):
        dns = Dns.model_validate(
            {"servers": (server.address,), "timeout": "1s", "attempts": 1, "trust_ad": True}
        )
        resolver = open_resolver(dns)
        try:
            doctor = Doctor(resolver, find_name_servers(dns.servers), fetch, timeout=0.5)
            return await doctor.examine(domain, selectors)
        finally:
            await resolver.close()

    with DnsServer(zones, secure=list(zones) if secure else ()) as server:
        server.faults.update(faults or {})
        return asyncio.run(run(server))


def test_a_domain_that_is_well():
    found = examine(GOOD)
    assert found.problems == ()
    assert sorted(f"{each.topic}: {each.text}" for each in found.symptoms) == sorted(ALL_WELL)


def changed(**records):
    """The good zones with some names' records replaced, None: gone; dots are written as __."""
    zones = dict(GOOD)
    for name, value in records.items():
        key = name.replace("__", ".")
        if value is None:
            del zones[key]
        else:
            merged = {**zones.get(key, {}), **value}
            zones[key] = {kind: records for kind, records in merged.items() if records}
    return zones


@pytest.mark.parametrize(
    ("zones", "level", "problem"),
    [
        (changed(good__example={"TXT": []}), "error", "spf: there is no SPF record"),
        (changed(good__example={"TXT": "v=spf1 ip4:nonsense -all"}), "error",
         "spf: nonsense is not a valid IPv4 value."),
        (changed(good__example={"TXT": "v=spf1 include:good.example -all"}), "error",
         "spf: Include loop: good.example -> good.example"),
        (changed(good__example={"TXT": f"v=spf1 {'a:mx.good.example ' * 11}-all"}), "error",
         "spf: Parsing the SPF record requires 11/10 maximum DNS lookups (RFC 7208 § 4.6.4)"),
        (changed(good__example={"TXT": f"v=spf1 {'a:mx.good.example ' * 9}-all"}), "warning",
         "spf: 9 of 10 look-ups, 1 deep"),
        (changed(good__example={"TXT": "v=spf1 ip4:192.0.2.1 ?all"}), "warning",
         "spf: it does not end in -all or ~all: anybody may send"),
        (changed(_dmarc__good__example=None), "error", "dmarc: there is no DMARC record"),
        (changed(_dmarc__good__example={"TXT": "v=DMARC1; p=none; rua=mailto:d@good.example"}), "warning",
         "dmarc: A p tag value of none makes DMARC unenforced on email sent as good.example."),
        (changed(_dmarc__good__example={"TXT": "v=DMARC1; p=reject"}), "warning",
         "dmarc: nobody gets reports (rua=)"),
        (changed(s1___domainkey__good__example=None), "error", "dkim: s1: there is no key"),
        (changed(s1___domainkey__good__example={"TXT": "v=DKIM1; p="}), "error", "dkim: s1: the key was revoked"),
        (changed(s1___domainkey__good__example={"TXT": record(rsa_key(1024))}), "warning",
         "dkim: s1: only 1024 bits"),
        (changed(s1___domainkey__good__example={"TXT": record(rsa_key(), "t=y; ")}), "warning",
         "dkim: s1: is under test (t=y)"),
        (changed(mx__good__example={"A": []}), "error", "mx: mx.good.example has no address"),
        (changed(**{"1__2__0__192__in-addr__arpa": None}), "warning",
         "ptr: mx.good.example [192.0.2.1] has no name (PTR)"),
        (changed(**{"1__2__0__192__in-addr__arpa": {"PTR": "other.example"}}), "warning",
         "ptr: mx.good.example [192.0.2.1] is called other.example, which is not there"),
        (changed(_25___tcp__mx__good__example={"TLSA": "0 0 1 " + "ab" * 32}), "error",
         "tlsa: mx.good.example: only usages that mail servers ignore"),
        (changed(_smtp___tls__good__example=None), "warning", "tls_rpt: nobody is told when TLS fails"),
    ],
)  # fmt: skip
def test_what_is_wrong(zones, level, problem):
    found = examine(zones)
    assert problem in found.problems
    topic, _, text = problem.partition(": ")
    assert Symptom(level, topic, text) in found.symptoms


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (Unavailable("no answer"), "mta_sts: the policy can't be had: no answer"),
        (b"\xff", "mta_sts: the policy can't be had: 'utf-8' codec"),
        (b"nonsense", "mta_sts: the policy can't be had: "),
        (POLICY.replace(b"enforce", b"testing"), "mta_sts: mode testing"),
        (
            POLICY.replace(b"*.good", b"mx.good"),
            "mta_sts: the policy does not name the MX mx2.good.example",
        ),
    ],
)
def test_mta_sts_needs_its_policy(policy, problem):
    assert any(each.startswith(problem) for each in examine(GOOD, policy=policy).problems)


def test_a_record_of_mta_sts_with_mistakes():
    zones = changed(**{"_mta-sts__good__example": {"TXT": "v=STSv1; id=!!"}})
    assert any(each.startswith("mta_sts: ") for each in examine(zones).problems)


def test_without_mta_sts_and_dane_nothing_holds_senders_to_tls():
    zones = changed(**{"_mta-sts__good__example": None}, _25___tcp__mx__good__example=None)
    assert (
        "mta_sts: neither MTA-STS nor DANE: senders may be talked out of TLS"
        in examine(zones).problems
    )


def test_tlsa_records_count_only_if_they_are_signed():
    problem = "tlsa: mx.good.example: our name server does not say that it is signed (DNSSEC)"
    assert problem in examine(GOOD, secure=False).problems


def test_a_domain_that_takes_no_mail():
    zones = {"quiet.example": {"TXT": "v=spf1 -all", "MX": "0 ."},
             "_dmarc.quiet.example": {"TXT": "v=DMARC1; p=reject; rua=mailto:d@good.example"}}  # fmt: skip
    zones["quiet.example._report._dmarc.good.example"] = {"TXT": "v=DMARC1"}
    found = examine(GOOD | zones, "quiet.example", ())
    assert found.problems == ()
    assert Symptom("ok", "mx", "the domain takes no mail (null MX)") in found.symptoms


def test_a_domain_without_mx():
    zones = {"plain.example": {"A": "192.0.2.1", "TXT": "v=spf1 a -all"}}
    assert any("there is no MX" in each for each in examine(zones, "plain.example", ()).problems)


def test_a_domain_that_is_not_there():
    found = examine({}, "nowhere.example", ())
    assert found.failure == ""
    assert "mx: there is no such domain" in found.problems


def test_without_answers_a_domain_can_not_be_examined():
    found = examine(GOOD, faults={"good.example": (Fault.SERVFAIL,)})
    assert found == Examination("good.example", (), found.failure)
    assert found.problems == (found.failure,)
    assert "good.example MX" in found.failure


def test_names_that_can_not_be_looked_up_are_an_error_of_their_own():
    found = examine(GOOD, faults={"mx.good.example": (Fault.SERVFAIL,),
                                  "_25._tcp.mx2.good.example": (Fault.SERVFAIL,)})  # fmt: skip
    assert {each.topic for each in found.symptoms if each.level == "error"} >= {"ptr", "tlsa"}


def test_domains_in_other_scripts():
    zones = {"xn--bcher-kva.example": {"TXT": "v=spf1 -all", "MX": "0 ."},
             "_dmarc.xn--bcher-kva.example": {"TXT": "v=DMARC1; p=reject; rua=mailto:d@good.example"}}  # fmt: skip
    zones["xn--bcher-kva.example._report._dmarc.good.example"] = {"TXT": "v=DMARC1"}
    assert examine(GOOD | zones, "Bücher.example", ()).problems == ()


def test_our_own_keys_in_use_must_be_there():
    keys = [
        {"domain": "Example.org", "selector": state, "key": "k.pem", "state": state}
        for state in ("next", "active", "retired")
    ]
    dkim = Dkim.model_validate({"key": keys})
    assert selectors_of(dkim, "example.ORG") == {"active"}
    assert selectors_of(dkim, "example.net") == set()
