"""SPF records (RFC 7208 4.6, 5, 6): what is one, what is wrong with it."""

import time
from ipaddress import ip_address

import pytest

from relay.mailauth.spf_record import MAX_RECORD_LENGTH, Record, is_spf, parse_record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=spf1", True),
        ("v=spf1 -all", True),
        ("V=SPF1 -all", True),
        ("v=spf1\t-all", False),
        ("v=spf10 -all", False),
        ("v=spf2.0/pra -all", False),
        (" v=spf1 -all", False),
        ("", False),
    ],
)
def test_an_spf_record_begins_with_its_version(text, expected):
    assert is_spf(text) is expected


def test_terms_are_read_in_order():
    record = parse_record(
        "v=spf1 +A:Mail.Example.com/24//64  ?mx ~include:%{d}.x.com -ALL Redirect=y.com EXP=%{d} "
    )
    assert isinstance(record, Record)
    assert [(each.result, each.mechanism, each.text) for each in record.directives] == [
        ("pass", "a", "+A:Mail.Example.com/24//64"),
        ("neutral", "mx", "?mx"),
        ("softfail", "include", "~include:%{d}.x.com"),
        ("fail", "all", "-ALL"),
    ]
    assert record.redirect == ("y.com",)
    assert record.explanation is not None


@pytest.mark.parametrize(
    ("term", "inside", "outside"),
    [
        ("ip4:192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.3.0"]),
        ("ip4:192.0.2.77/24", ["192.0.2.1"], ["192.0.1.255"]),
        ("ip4:192.0.2.1", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2"]),
        ("ip4:192.0.2.1/32", ["192.0.2.1"], ["192.0.2.0"]),
        ("ip4:192.0.2.1/0", ["0.0.0.0", "255.255.255.255"], []),
        ("IP6:2001:DB8::/32", ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::"]),
        ("ip6:::1", ["::1"], ["::2"]),
        ("ip6:2001:db8::192.0.2.1/128", ["2001:db8::c000:201"], ["2001:db8::c000:202"]),
        ("ip6:::/0", ["ffff::"], []),
    ],
)
def test_a_network_holds_what_is_in_it(term, inside, outside):
    record = parse_record(f"v=spf1 {term}")
    assert isinstance(record, Record)
    (directive,) = record.directives
    shift = directive.shifts[0 if directive.mechanism == "ip4" else 1]
    for text in inside:
        assert int(ip_address(text)) >> shift == directive.network
    for text in outside:
        assert int(ip_address(text)) >> shift != directive.network


@pytest.mark.parametrize(
    ("term", "shifts"),
    [
        ("a", (0, 0)),
        ("a/24", (8, 0)),
        ("a//64", (0, 64)),
        ("a/0//0", (32, 128)),
        ("mx:example.com/32//128", (0, 0)),
        ("a:%{d}/16", (16, 0)),
    ],
)
def test_prefix_lengths_of_both_kinds(term, shifts):
    record = parse_record(f"v=spf1 {term}")
    assert isinstance(record, Record)
    assert record.directives[0].shifts == shifts


def test_modifiers_that_are_not_known_are_ignored():
    record = parse_record("v=spf1 ra=postmaster x.y_z-1=%{d}/a:b default= -all")
    assert isinstance(record, Record)
    assert [each.mechanism for each in record.directives] == ["all"]


@pytest.mark.parametrize(
    "terms",
    [
        "all:", "all/8", "all:example.com", "-all.", "include", "include:", "include/24", "include:com", "include:example.com/24",
        "exists", "exists:", "a:", "a:/24", "a:example.com/33", "a:example.com//129", "a/024", "a/ 24", "a/24/64", "a/24//64/", "a//", "a/", "a/-1",
        "a:1.2.3.4", "a:example.com:25", "mx:", "mx/33", "ptr:", "ptr/24", "ptr:com",
        "ip4", "ip4:", "ip4:1.2.3", "ip4:1.2.3.4.5", "ip4:1.2.3.04", "ip4:256.1.1.1", "ip4:1.2.3.4/33", "ip4:1.2.3.4/08", "ip4:1.2.3.4//32", "ip4:::1",
        "ip4/24", "ip4:1.2.3.4/", "ip4:0x7f.1.1.1", "ip4:１.2.3.4", "ip6", "ip6:", "ip6:::1%eth0", "ip6:1.2.3.4", "ip6:::1/129", "ip6:::1//64", "ip6:g::",
        "ip6:[::1]", "foo", "foo:bar.com", "+", "-", "--all", "+-all", "!all", "1.2.3.4", "-all;", "-all,", "a\tb", "-all\r\n", "-all\0",
        "redirect=", "redirect=com", "redirect=a.com redirect=a.com", "exp=", "exp=com", "exp=a.com exp=a.com", "EXP=a.com exp=a.com",
        "=all", "1up=foo", "-redirect=a.com", "x=%", "x=%{y}", "x=\t", "x=ä", "ä", "all=\x7f",
    ],
)  # fmt: skip
def test_any_mistake_anywhere_is_one_of_the_whole_record(terms):
    for text in (f"v=spf1 {terms}", f"v=spf1 +all {terms}", f"v=spf1 {terms} +all"):
        problem = parse_record(text)
        assert isinstance(problem, str)
        assert problem.isascii()
        assert problem.isprintable()


def test_a_record_beyond_all_measure_is_mistaken():
    longest = "v=spf1" + " a" * ((MAX_RECORD_LENGTH - 6) // 2)
    assert isinstance(parse_record(longest), Record)
    assert isinstance(parse_record(longest + "  "), str)


def test_even_the_worst_records_take_little_time():
    started = time.process_time()
    for term in (
        "a",
        "ip4:1.1.1.1",
        "a:" + "%{d}" * 2000,
        "x=" + "%%" * 4000,
        "a" + "/1" * 4000,
        "ip6:" + ":" * 8000,
    ):
        count = max(1, 8000 // (len(term) + 1))
        parse_record(("v=spf1 " + f"{term} " * count)[:MAX_RECORD_LENGTH])
    assert time.process_time() - started < 0.15
