"""Address patterns: what they match, and what is refused with the right spelling."""

import pytest

from relay.errors import ConfigurationError
from relay.model import Address
from relay.pki.patterns import canonical_domain, matches, parse_pattern


def address(text):
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


@pytest.mark.parametrize(
    ("pattern", "fitting", "foreign"),
    [
        ("*", ["a@b.example", '"odd one"@x', "a@[192.0.2.1]"], []),
        (
            "@acme.example",
            ["a@acme.example", "B@ACME.Example", "a@acme.example.", '"a b"@acme.example'],
            ["a@sub.acme.example", "a@notacme.example", "a@acme.example.org", "a@example", "a@"],
        ),
        (
            "@.acme.example",
            ["a@mx.acme.example", "a@a.b.acme.EXAMPLE"],
            ["a@acme.example", "a@xacme.example", "a@acme.example.org"],
        ),
        (
            "billing@acme.example",
            ["billing@acme.example", "Billing@Acme.Example", '"billing"@acme.example', '"bil\\ling"@acme.example'],
            ["xbilling@acme.example", "billing@mx.acme.example", '"billing "@acme.example'],
        ),
        ('"Two Words"@acme.example', ['"two words"@acme.example', '"two\\ words"@acme.example'], ["twowords@acme.example"]),
        ("@bücher.example", ["a@xn--bcher-kva.example", "a@BÜCHER.example", "a@bu\u0308cher.example"], ["a@bucher.example"]),
        ("@xn--bcher-kva.example", ["a@bücher.example", "a@XN--bcher-kva.example"], []),
        ("@.bücher.example", ["a@mx.xn--bcher-kva.example"], ["a@xn--bcher-kva.example"]),
        ("@strasse.example", ["a@strasse.example"], ["a@straße.example", "a@xn--strae-oqa.example", "a@xn--strasse-.example"]),
        ("jürgen@acme.example", ["JÜRGEN@acme.example", "ju\u0308rgen@acme.example"], ["jurgen@acme.example"]),
        ("@[192.0.2.1]", ["a@[192.0.2.1]"], ["a@[192.0.2.10]", "a@192.0.2.1"]),
        ("@[IPv6:2001:DB8::1]", ["a@[ipv6:2001:db8::1]"], []),
    ],
)  # fmt: skip
def test_a_pattern_matches_what_it_says(pattern, fitting, foreign):
    patterns = (parse_pattern(pattern),)
    assert [text for text in fitting if not matches(patterns, address(text))] == []
    assert [text for text in foreign if matches(patterns, address(text))] == []


def test_one_fitting_pattern_of_several_is_enough():
    patterns = tuple(map(parse_pattern, ["a@x.example", "@.y.example", "@z.example"]))
    assert matches(patterns, address("q@z.example"))
    assert matches(patterns, address("q@mx.y.example"))
    assert not matches(patterns, address("q@x.example"))
    assert not matches((), address("a@x.example"))


@pytest.mark.parametrize("text", ["*", "@acme.example", "@.acme.example", "a.b+c@acme.example"])
def test_a_canonical_pattern_stays_as_it_is(text):
    assert parse_pattern(text) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("acme.example", '"@acme.example"'),
        ("*@acme.example", '"@acme.example"'),
        ("@*.acme.example", '"@.acme.example"'),
        ("", "@"),
        ("@", "@example.org"),
        ("a b@acme.example", "user@example.org"),
        ("a@b@acme.example", "user@example.org"),
        ("@acme..example", "user@example.org"),
        ("@-acme.example", "user@example.org"),
        ("@acme example", "user@example.org"),
        ("a@.acme.example", "user@example.org"),
        ("@" + "a" * 64 + ".example", "user@example.org"),
        ("@" + "a.example." * 30 + "org", "user@example.org"),
        ("a" * 65 + "@acme.example", "user@example.org"),
        ("@[]", "user@example.org"),
        ("a\r\nb@acme.example", "user@example.org"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_right_spelling(text, remedy):
    with pytest.raises(ConfigurationError) as caught:
        parse_pattern(text)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("domain", "canonical"),
    [
        ("xn--ib9b.example", "xn--ib9b.example"),  # half a surrogate pair
        ("xn--zvg.example", "xn--zvg.example"),  # U+202E turns the reading direction
        ("Example.ORG.", "example.org"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("xn--", "xn--"),
        ("xn--acme-.example", "xn--acme-.example"),
        ("xn--é.example", "xn--é.example"),
        ("xn--\uff41.example", "xn--\uff41.example"),
        ("xn--99999999999.example", "xn--99999999999.example"),
    ],
)
def test_every_domain_has_one_spelling_and_none_raises(domain, canonical):
    assert canonical_domain(domain) == canonical
