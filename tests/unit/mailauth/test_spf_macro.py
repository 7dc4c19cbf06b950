"""Macro strings of SPF (RFC 7208 7): what is one, and what it becomes."""

import time

import pytest

from relay.mailauth.spf_macro import (
    expand,
    expand_domain,
    parse_domain_spec,
    parse_explanation,
    parse_macro_string,
)

# the values of RFC 7208 7.4
VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "mx.example.org",
    "c": "192.0.2.3",
    "r": "edge.example.net",
    "t": "1700000000",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # RFC 7208 7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        # and more
        ("%%-%_-%-", "%- -%20"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{D2R}", "example.email"),
        ("%{s-.@}", None),
        ("%{s2-.}", "example.com"),
        ("%{d999999999999999999999}", "email.example.com"),
        ("%{h+,/_=}", "mx.example.org"),
        ("%{r} %{t}", None),
    ],
)
def test_macros_become_what_the_rfc_says(text, expected):
    if expected is None:
        with pytest.raises(ValueError, match="no macro"):
            parse_macro_string(text)
    else:
        assert expand(parse_macro_string(text), VALUES.__getitem__) == expected


def test_explanations_may_have_spaces_and_more_letters():
    parts = parse_explanation("%{c} at %{t}: %{r} says no.")
    assert expand(parts, VALUES.__getitem__) == "192.0.2.3 at 1700000000: edge.example.net says no."


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "a%",
        "%a",
        "%(d)",
        "%{",
        "%{}",
        "%{x}",
        "%{d",
        "%{d0}",
        "%{d00r}",
        "%{drr}",
        "%{d2d}",
        "%{d*}",
        "a b",
        "a\tb",
        "ä",
        "\x7f",
        "%{d-2}",
    ],
)
def test_what_is_no_macro_string_is_an_error(text):
    with pytest.raises(ValueError):
        parse_macro_string(text)


@pytest.mark.parametrize(
    "text",
    [
        "example.com", "example.com.", "a.b.c-d", "a.xn--p1ai", "a.1a", "a.1-2", "a._b.c", "%{d}", "a.%{d}", "%{d}.com", "x%%", "x%_", "x%-",
        "a:b/c=d!.example.com", "exists.%{i}.100/86400.rate.%{d}",
    ],
)  # fmt: skip
def test_a_domain_ends_in_a_macro_or_in_a_top_level_label(text):
    assert parse_domain_spec(text)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "com", "com.", "example..", "1.2.3.4", "a.123", "a.-b", "a.b-", "a.b_c", "a.b/24", "%{d}com", "%{d}x",
        "x.%%-", "%{c}.example.com", "%{r}.example.com", "a.%{t}", "%{T}", "a.com ", "a b.com", "a.com:8080",
    ],
)  # fmt: skip
def test_what_cannot_be_a_domain_is_an_error(text):
    with pytest.raises(ValueError):
        parse_domain_spec(text)


def test_a_domain_is_in_lower_case_without_a_final_dot():
    assert expand_domain(parse_domain_spec("A.%{d}.Com."), lambda _: "B") == "a.b.com"


@pytest.mark.parametrize(
    ("label", "count", "expected"),
    [("x", 125, 253), ("x", 126, 253), ("xx", 83, 252), ("xx", 84, 252), ("xx", 500, 252)],
)
def test_a_domain_that_is_too_long_loses_labels_on_the_left(label, count, expected):
    name = expand_domain(parse_domain_spec("%{l}.com"), lambda _: ".".join([label] * count))
    assert len(name) == expected
    assert name.startswith(f"{label}.{label}.")
    assert name.endswith(f".{label}.com")


def test_a_first_label_that_is_too_long_leaves_nothing_of_it():
    assert (
        expand_domain(parse_domain_spec("%{l}.example.com"), lambda _: "x" * 300) == "example.com"
    )


def test_even_the_worst_strings_take_little_time():
    started = time.process_time()
    parts = parse_domain_spec("%{s}" * 2000 + "." + "a" * 64 + ".com")
    expand_domain(parts, lambda _: "a." * 150)
    parse_domain_spec("%{l-}" * 1600)
    for text in ("." * 8000, ".a" * 4000, "%%" * 4000 + "x", "." + "1" * 8000, ".a" + "-" * 8000):
        with pytest.raises(ValueError):
            parse_domain_spec(text + "!")
    assert time.process_time() - started < 0.1
