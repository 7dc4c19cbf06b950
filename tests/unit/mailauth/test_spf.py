"""SPF (RFC 7208) case by case; the openspf suite and pyspf judge it too (test_spf_suite, test_spf_pyspf)."""

import asyncio
from ipaddress import ip_address

import pytest

from relay.mailauth.spf import Claim, SpfResult, evaluate
from tests.kit.zones import FakeResolver

PEER = "192.0.2.1"
PEER6 = "2001:db8::1"
ZONES = {
    "host.example": {"A": PEER, "AAAA": PEER6},
    "near.example": {"A": "192.0.2.99", "AAAA": "2001:db8::99"},
    "far.example": {"A": ["198.51.100.1", "198.51.100.2"], "AAAA": "2001:db9::1"},
    "v4only.example": {"A": PEER},
    "mail.example": {"MX": ["10 far.example", "20 host.example"]},
    "null-mx.example": {"MX": "0 "},
    "broken-mx.example": {"MX": ["10 broken.example", "20 host.example"]},
    "alias.example": {"CNAME": "host.example"},
    "pass.example": {"TXT": "v=spf1 +all"},
    "fail.example": {"TXT": "v=spf1 -all exp=why.example"},
    "soft.example": {"TXT": "v=spf1 ~all"},
    "neutral.example": {"TXT": "v=spf1 ?all"},
    "empty.example": {"TXT": "v=spf1"},
    "wrong.example": {"TXT": "v=spf1 wrong"},
    "twice.example": {"TXT": ["v=spf1 +all", "v=spf1 -all"]},
    "unrelated.example": {"TXT": ["verification=1", "v=spf1 +all", "\udcff\udcfe"]},
    "other.example": {"TXT": "verification=1"},
    "why.example": {"TXT": "%{i} may not send for %{d}"},
    "1.2.0.192.in-addr.arpa": {"PTR": ["liar.example", "host.example", "unknown.example"]},
}
FAILING = ["broken.example"]


def judge(
    record,
    ip=PEER,
    *,
    local="bob",
    hello="mx.d.example",
    explain=False,
    zones=(),
    failing=(),
    resolver=None,
):
    """Evaluate d.example with this record, or another domain's own."""
    if resolver is None:
        found = {**ZONES, "d.example": {"TXT": record, "A": "203.0.113.1"}, **dict(zones)}
        resolver = FakeResolver(found, failing=[*FAILING, *failing])
    claim = Claim(ip_address(ip), local, "d.example", hello, "edge.example.org", 1_700_000_000)
    return asyncio.run(evaluate(claim, resolver, explain=explain))


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("", "neutral"),
        ("+all", "pass"),
        ("all", "pass"),
        ("-all", "fail"),
        ("~all", "softfail"),
        ("?all", "neutral"),
        ("ip4:192.0.2.0/24 -all", "pass"),
        ("ip4:198.51.100.0/24 -all", "fail"),
        ("ip6:2001:db8::/32 -all", "fail"),
        ("-ip4:192.0.2.1 +all", "fail"),
        ("a:host.example -all", "pass"),
        ("a:alias.example -all", "pass"),
        ("a:near.example -all", "fail"),
        ("a:near.example/24 -all", "pass"),
        ("a:near.example//64 -all", "fail"),
        ("a:far.example/0 -all", "pass"),
        ("a -all", "fail"),
        ("mx:mail.example -all", "pass"),
        ("mx:null-mx.example -all", "fail"),
        ("mx:host.example -all", "fail"),
        ("mx -all", "fail"),
        ("exists:host.example -all", "pass"),
        ("exists:no.example -all", "fail"),
        ("exists:%{ir}.no.example -all", "fail"),
        ("include:pass.example -all", "pass"),
        ("include:fail.example +all", "pass"),
        ("include:soft.example +all", "pass"),
        ("include:neutral.example -all", "fail"),
        ("-include:pass.example +all", "fail"),
        ("include:empty.example -all", "fail"),
        ("include:unrelated.example -all", "pass"),
        ("include:other.example +all", "permerror"),
        ("include:no.example +all", "permerror"),
        ("include:wrong.example +all", "permerror"),
        ("include:twice.example +all", "permerror"),
        ("include:broken.example +all", "temperror"),
        ("+all include:no.example", "pass"),
        ("+all a:broken.example", "pass"),
        ("a:broken.example +all", "temperror"),
        ("mx:broken.example +all", "temperror"),
        ("mx:broken-mx.example +all", "temperror"),
        ("exists:broken.example +all", "temperror"),
        ("ptr:host.example -all", "pass"),
        ("ptr:example -all", "permerror"),
        ("ptr:liar.example -all", "fail"),
        ("redirect=pass.example", "pass"),
        ("redirect=fail.example", "fail"),
        ("redirect=empty.example", "neutral"),
        ("-all redirect=pass.example", "fail"),
        ("redirect=pass.example -all", "fail"),
        ("redirect=no.example", "permerror"),
        ("redirect=broken.example", "temperror"),
        ("redirect=wrong.example", "permerror"),
        ("redirect=%{l}..example", "permerror"),
        ("a:%{d}..example -all", "fail"),
        ("a:" + "x" * 64 + ".example -all", "fail"),
        ("wrong +all", "permerror"),
        ("+all wrong", "permerror"),
    ],
)  # fmt: skip
def test_a_record_means_what_the_rfc_says(terms, expected):
    assert judge(f"v=spf1 {terms}").result == expected


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("ip6:2001:db8::/32 -all", "pass"),
        ("ip6:2001:db9::/32 -all", "fail"),
        ("ip4:0.0.0.0/0 -all", "fail"),
        ("a:host.example -all", "pass"),
        ("a:v4only.example -all", "fail"),
        ("a:near.example//64 -all", "pass"),
        ("a:near.example/0 -all", "fail"),
        ("mx:mail.example -all", "pass"),
        ("exists:v4only.example -all", "pass"),
    ],
)
def test_for_ipv6_the_other_half_counts(terms, expected):
    assert judge(f"v=spf1 {terms}", PEER6).result == expected


def test_a_mapped_address_is_the_ipv4_address_in_it():
    assert judge("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1").result == "pass"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "none"),
        (["verification=1"], "none"),
        (["v=spf10 +all"], "none"),
        (["v=spf1 +all", "v=spf1 +all"], "permerror"),
        (["v=spf1 +all", "verification=1"], "pass"),
    ],
)
def test_a_domain_has_one_record_or_none(texts, expected):
    assert judge(texts).result == expected


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "localhost",
        "[192.0.2.1]",
        "a..example",
        ".example.org",
        "x" * 64 + ".example",
        "x." * 126 + "xy",
    ],
)
def test_what_is_no_mail_domain_has_no_policy_and_is_not_asked_for(domain):
    resolver = FakeResolver(ZONES)
    claim = Claim(ip_address(PEER), "bob", domain, "mx.example")
    assert asyncio.run(evaluate(claim, resolver)).result is SpfResult.NONE
    assert resolver.asked == []


def test_a_domain_that_does_not_answer_is_a_temporary_error():
    outcome = judge("v=spf1 +all", failing=["d.example"])
    assert outcome.result is SpfResult.TEMPERROR
    assert "d.example" in outcome.problem


def test_what_matched_is_told_as_the_domain_wrote_it():
    assert (
        judge("v=spf1 ip4:1.1.1.1 ~Include:pass.example -all").mechanism == "~Include:pass.example"
    )
    assert judge("v=spf1 redirect=fail.example").mechanism == "-all"
    assert judge("v=spf1 ip4:1.1.1.1").mechanism == ""


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [(10, "pass"), (11, "permerror")])
def test_ten_terms_may_ask_the_dns(count, expected):
    assert judge("v=spf1 " + "a " * count + "+all").result == expected
    assert judge("v=spf1 " + "ip4:1.1.1.1 " * 100 + "a " * count + "+all").result == expected


def test_terms_of_included_records_count_too():
    zones = {"inner.example": {"TXT": "v=spf1 " + "a:host.example/32 " * 9, "A": "203.0.113.1"}}
    record = "v=spf1 include:inner.example {} +all"
    zones["inner.example"]["TXT"] = "v=spf1 " + "a " * 9
    assert judge(record.format(""), zones=zones).result == "pass"
    assert judge(record.format("a"), zones=zones).result == "permerror"


@pytest.mark.parametrize("term", ["include:d.example", "redirect=d.example"])
def test_a_record_that_leads_to_itself_ends(term):
    assert judge(f"v=spf1 {term}").result == "permerror"


def test_a_record_with_macros_that_leads_ever_deeper_ends():
    assert judge("v=spf1 include:x.%{d}", zones={"x." * n + "d.example": {"TXT": "v=spf1 include:x.%{d}"} for n in range(1, 30)}).result == "permerror"  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("a:x.example a:y.example +all", "pass"),
        ("a:x.example a:y.example a:z.example +all", "permerror"),
        ("a:x.example exists:y.example mx:z.example +all", "permerror"),
        ("a:x.example a:host.example/0", "pass"),
        ("mx:voids.example +all", "permerror"),
        ("exists:x..example a:x..y.example mx:..example a:x.example a:y.example +all", "pass"),
        ("ptr:nowhere.example ptr:nowhere.example ptr:nowhere.example +all", "pass"),
    ],
)
def test_two_questions_may_have_no_answer(terms, expected):
    zones = {"voids.example": {"MX": ["10 x.example", "20 y.example", "30 z.example"]}}
    assert judge(f"v=spf1 {terms}", zones=zones).result == expected


@pytest.mark.parametrize(("count", "expected"), [(10, "fail"), (11, "permerror")])
def test_ten_mail_exchanges_are_looked_at(count, expected):
    zones = {"many.example": {"MX": [f"{n} far.example" for n in range(count)]}}
    assert judge("v=spf1 mx:many.example -all", zones=zones).result == expected


@pytest.mark.parametrize(("before", "expected"), [(9, "pass"), (10, "fail")])
def test_ten_names_of_the_peer_are_looked_at(before, expected):
    names = [*(f"n{n}.example" for n in range(before)), "host.example"]
    zones = {"1.2.0.192.in-addr.arpa": {"PTR": names}}
    assert judge("v=spf1 ptr:host.example -all", zones=zones).result == expected


@pytest.mark.parametrize("failing", ["1.2.0.192.in-addr.arpa", "host.example"])
def test_names_of_the_peer_that_cannot_be_found_out_do_not_match(failing):
    outcome = judge("v=spf1 ptr:host.example -all", failing=[failing])
    assert outcome.result == "fail"


def test_the_names_of_the_peer_are_asked_for_once():
    resolver = FakeResolver({**ZONES, "d.example": {"TXT": "v=spf1 ptr ptr a:%{p}.x.example ~all"}})
    judge("", resolver=resolver)
    assert resolver.asked.count(("1.2.0.192.in-addr.arpa", "PTR")) == 1


# --- macros -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spec", "ip"),
    [
        ("bob.d.example", "%{l}.%{o}", PEER),
        ("1.2.0.192.in-addr.bl.example", "%{ir}.%{v}.bl.example", PEER),
        ("mx.d.example.helo.example", "%{h}.helo.example", PEER),
        ("host.example.p.example", "%{p}.p.example", PEER),
        ("unknown.p.example", "%{p}.p.example", PEER6),
        ("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.bl.example", "%{ir}.%{v}.bl.example", PEER6),
    ],
)
def test_macros_stand_for_what_is_known_of_the_message(name, spec, ip):
    zones = {name: {"A": "127.0.0.2"}}
    assert judge(f"v=spf1 exists:{spec} -all", ip, zones=zones).result == "pass"


def test_the_domain_of_a_macro_is_the_one_whose_record_it_is():
    zones = {
        "inner.example": {"TXT": "v=spf1 exists:%{d}.of.%{o}"},
        "inner.example.of.d.example": {"A": "127.0.0.2"},
    }
    assert judge("v=spf1 include:inner.example -all", zones=zones).result == "pass"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["z.example", "x.d.example", "d.example"], "d.example"),
        (["z.example", "x.d.example"], "x.d.example"),
        (["z.example", "xd.example"], "z.example"),
    ],
)
def test_the_name_of_the_peer_is_the_nearest_to_the_domain(names, expected):
    zones = {name: {"A": PEER} for name in names}
    zones["d.example"] = {"TXT": "v=spf1 exists:%{p}.p.example -all", "A": PEER}
    zones["1.2.0.192.in-addr.arpa"] = {"PTR": names}
    zones[f"{expected}.p.example"] = {"A": "127.0.0.2"}
    assert judge("", zones=zones).result == "pass"


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("exists:%{l}.host.example -all", "fail"),
        ("include:%{s}.host.example -all", "fail"),
        ("exists:%{L}.host.example -all", "fail"),
        ("redirect=%{l}.pass.example", "neutral"),
        ("exists:%{d1}.%{h} a:host.example -all", "pass"),
    ],
)
def test_terms_with_a_local_part_beyond_ascii_never_match(terms, expected):
    assert judge(f"v=spf1 {terms}", local="jürgen").result == expected


# --- explanations -----------------------------------------------------------------------------------


def explanation(record="v=spf1 -all exp=why.example", **more):
    return judge(record, explain=True, **more).explanation


def test_a_fail_is_explained_by_the_domain():
    assert explanation() == "192.0.2.1 may not send for d.example"


def test_an_explanation_is_fetched_only_if_wanted():
    resolver = FakeResolver({**ZONES, "d.example": {"TXT": "v=spf1 -all exp=why.example"}})
    assert judge("", resolver=resolver).explanation == ""
    assert ("why.example", "TXT") not in resolver.asked


def test_an_explanation_knows_time_and_receiver():
    zones = {"why.example": {"TXT": "%{r} at %{t}: %{c}, %{S}"}}
    assert explanation(zones=zones) == "edge.example.org at 1700000000: 192.0.2.1, bob%40d.example"


def test_the_redirected_record_explains_itself():
    record = "v=spf1 redirect=fail.example exp=host.example"
    assert explanation(record) == "192.0.2.1 may not send for fail.example"


def test_an_included_record_explains_nothing():
    assert explanation("v=spf1 include:fail.example -all") == ""


@pytest.mark.parametrize("qualifier", ["~", "?", "+"])
def test_only_a_fail_is_explained(qualifier):
    assert explanation(f"v=spf1 {qualifier}all exp=why.example") == ""


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["one", "two"],
        ["%{x}"],
        ["100%"],
        ["schöne Grüße"],
        ["\udcff"],
        ["x" * 513],
        ["a\nb"],
        ["a\0b"],
    ],
    ids=["none", "two", "macro", "percent", "not ASCII", "bytes", "long", "line break", "nul"],
)
def test_what_is_wrong_with_an_explanation_leaves_the_fail_without_one(texts):
    outcome = judge(
        "v=spf1 -all exp=why.example", explain=True, zones={"why.example": {"TXT": texts}}
    )
    assert (outcome.result, outcome.explanation) == ("fail", "")


@pytest.mark.parametrize("name", ["broken.example", "no.example", "x..example", "%{l}.why.example"])
def test_an_explanation_that_cannot_be_had_leaves_the_fail_without_one(name):
    outcome = judge(f"v=spf1 -all exp={name}", explain=True, local="jürgen")
    assert (outcome.result, outcome.explanation) == ("fail", "")


# --- what it may cost -------------------------------------------------------------------------------


def test_no_record_makes_us_ask_without_end():
    many = {f"m{n}.example": {"MX": [f"{k} n{k}.example" for k in range(10)]} for n in range(10)}
    zones = many | {f"n{k}.example": {"A": "203.0.113.9"} for k in range(10)}
    record = "v=spf1 " + " ".join(f"mx:m{n}.example" for n in range(10)) + " -all"
    resolver = FakeResolver({**zones, "d.example": {"TXT": record}})
    assert judge("", resolver=resolver).result == "fail"
    assert len(resolver.asked) == 1 + 10 + 100
