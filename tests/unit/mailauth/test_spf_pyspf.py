"""Our SPF and pyspf's, asked the same: random zones and records, mistaken ones among them.

Where the two are known to differ (docs/decisions/0022-own-spf.md) the zones do not go, or the test below says so.
"""

import asyncio
from ipaddress import ip_address

import pytest
import spf as pyspf
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mailauth import spf
from relay.mailauth.spf import Claim, SpfResult, evaluate
from tests.kit.zones import FakeResolver

NAMES = ["a.example", "b.example", "mx.c.example", "d.a.example", "gone.example"]
ADDRESSES = ["192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "2001:db8:0:1::2"]

NO_EXPLANATION = "SPF fail - not authorized"  # pyspf's

names = st.sampled_from(NAMES)
v4 = st.sampled_from([address for address in ADDRESSES if ":" not in address])
v6 = st.sampled_from([address for address in ADDRESSES if ":" in address])
macros = st.sampled_from(
    ["%{d}", "%{o}", "%{h}", "%{d2}", "%{l}.a.example", "%{ir}.%{v}.b.example", "%{d1r}.example", "%{l1r-}.example", "%{p}", "x.%{p2}"]
)  # fmt: skip
specs = names | macros | st.sampled_from(["A.Example", "b.example.", "example", "1.2.3.4", "%{x}.a.example", "a..example", "%%.a.example"])  # fmt: skip
lengths = st.sampled_from(["", "/24", "/0", "/32", "//64", "/24//32", "/33", "//129", "/024", "/"])
qualifiers = st.sampled_from(["", "+", "-", "~", "?"])
mechanisms = st.one_of(
    st.just("all"),
    st.just("ptr"),
    st.builds("ip4:{}{}".format, v4, st.sampled_from(["", "/24", "/8", "/0", "/32", "/33", "/08"])),
    st.builds("ip6:{}{}".format, v6, st.sampled_from(["", "/64", "/32", "/0", "/128", "/129"])),
    st.builds("{}{}".format, st.sampled_from(["a", "mx", "A", "MX"]), lengths),
    st.builds("{}:{}{}".format, st.sampled_from(["a", "mx"]), specs, lengths),
    st.builds("{}:{}".format, st.sampled_from(["include", "exists", "ptr"]), specs),
    st.sampled_from(["foo", "all:a.example", "ip4", "ip4:::1", "-", "a:", "ptr/24"]),
)
terms = st.one_of(
    st.builds("{}{}".format, qualifiers, mechanisms),
    st.builds("{}={}".format, st.sampled_from(["redirect", "exp"]), specs),
    st.builds("x{}={}".format, st.uuids(), specs),
)
records = st.lists(terms, max_size=5).map(lambda found: " ".join(["v=spf1", *found]))
zones = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {},
            optional={
                "TXT": st.lists(records | st.just("unrelated"), min_size=1, max_size=2),
                "A": st.lists(v4, min_size=1, max_size=3),
                "AAAA": st.lists(v6, min_size=1, max_size=3),
                "MX": st.lists(names.map("10 {}".format), min_size=1, max_size=3),
            },
        )
        for name in NAMES[:-1]
    }
)
locals_ = st.sampled_from(["bob", "postmaster", "a-b+c", "x.y"])


@pytest.fixture(autouse=True)
def unlimited_voids(monkeypatch):
    """What counts as void differs; the suite and our own tests have the limit."""
    monkeypatch.setattr(pyspf, "MAX_VOID_LOOKUPS", 1000)
    monkeypatch.setattr(spf, "_MAX_VOID_LOOKUPS", 1000)


def theirs(claim, resolver, monkeypatch):
    def look_up(name, kind, *_):
        found = asyncio.run(resolver.resolve(name, kind)).records
        if kind == "TXT":
            found = [(text.encode(),) for text in found]
        elif kind == "MX":
            found = [(int(each.partition(" ")[0]), each.partition(" ")[2]) for each in found]
        elif kind == "AAAA":
            found = [str(ip_address(each)) for each in found]
        return [((name, kind), each) for each in found]

    monkeypatch.setattr(pyspf, "DNSLookup", look_up)
    sender = f"{claim.local}@{claim.domain}"
    return pyspf.query(i=str(claim.ip), s=sender, h=claim.hello).check()


@settings(max_examples=300, deadline=None)
@given(
    zones=zones,
    pointers=st.lists(names, max_size=3),
    claim=st.builds(
        Claim,
        st.sampled_from(ADDRESSES).map(ip_address),
        locals_,
        st.sampled_from(NAMES[:2]),
        names,
    ),
)
def test_both_come_to_the_same_result(zones, pointers, claim):
    if pointers:
        zones[claim.ip.reverse_pointer] = {"PTR": pointers}
    ours = asyncio.run(evaluate(claim, FakeResolver(zones), explain=True))
    with pytest.MonkeyPatch.context() as patch:
        result, _, explanation = theirs(claim, FakeResolver(zones), patch)
    if "trivial recursion" not in explanation:
        assert ours.result == result
    if ours.result == result == SpfResult.FAIL:
        assert (ours.explanation or NO_EXPLANATION) == explanation


@pytest.mark.parametrize(
    ("record", "ours", "pyspfs"),
    [
        # RFC 7208 4.6.1: ABNF is not case-sensitive, so this is a redirect
        ("v=spf1 REDIRECT=pass.example", "pass", "neutral"),
        # RFC 7208 6: modifiers that are not known are ignored, however often they come
        ("v=spf1 foo=1 foo=2 +all", "pass", "permerror"),
        # RFC 7208 5.2: a record may include itself; whether it gets so far is another matter
        ("v=spf1 +all include:a.example", "pass", "permerror"),
        # RFC 7208 5.7: the domain of "exists" may not be left out
        ("v=spf1 ?exists +all", "permerror", "neutral"),
    ],
)
def test_where_the_two_differ_the_rfc_decides(record, ours, pyspfs, monkeypatch):
    claim = Claim(ip_address("192.0.2.1"), "bob", "a.example", "mx.a.example")
    zones = {
        "a.example": {"TXT": record, "A": "192.0.2.9"},
        "pass.example": {"TXT": "v=spf1 +all"},
    }
    assert asyncio.run(evaluate(claim, FakeResolver(zones))).result == ours
    assert theirs(claim, FakeResolver(zones), monkeypatch)[0] == pyspfs
