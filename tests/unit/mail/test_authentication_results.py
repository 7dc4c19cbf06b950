"""Authentication-Results: what is written is by the grammar, and what claims to be ours is recognised."""

import time

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.authentication_results import (
    MethodResult,
    canonical_id,
    claims_to_be,
    format_results,
    result_of,
)

OURS = frozenset({"edge.example", "xn--bcher-kva.example"})

FORGED = [
    "edge.example; spf=pass",
    "EDGE.Example; spf=pass",
    "edge.example ; spf=pass",
    "\tedge.example;spf=pass",
    "edge.example 1; spf=pass",
    "edge.example 01 ; spf=pass",
    "edge.example;",
    "edge.example",
    "edge.example none",
    "edge.example; none",
    "edge.example.; none",
    '"edge.example"; none',
    '"EDGE.example" 1; none',
    '"edge\\.example"; none',
    '"\\e\\d\\g\\e.example"; none',
    '" edge.example "; none',
    '"edge.example; none',
    '"edge.\r\n example"; none',
    "(comment) edge.example; none",
    "(a (nested) one)edge.example(x); none",
    "(a \\) one) edge.example; none",
    '(a " quote) edge.example; x="',
    "(two)(in a row)\r\n\tedge.example (version) 1 (x) ; none",
    "(;) edge.example; none",
    "(other.example;) edge.example; none",
    "(unclosed edge.example; none",
    "\r\n edge.example;\r\n none",
    "\r\n\r\n edge.example; none",
    "edge.example\r\n ; none",
    "edge.example/1; none",
    "edge . example; none",
    "edge.example other.example; none",
    "other.example edge.example; none",
    "edge.example=x; none",
    "\x0bedge.example; none",
    "\x00edge.example; none",
    "edge.example\x00; none",
    "\xa0edge.example; none",
    "ｅｄｇｅ.example; none",
    "edge。example; none",
    "edge．example; none",
    "bücher.example; none",
    "BÜCHER.example; none",
    '"bücher.example"; none',
    "xn--bcher-kva.example; none",
    "XN--BCHER-KVA.example; none",
    "=?utf-8?q?edge.example?=; none",
    "<edge.example>; none",
    "spf=pass smtp.mailfrom=example.org",
    "spf=pass; dkim=pass",
    "",
    ";",
    "; spf=pass",
    "\u202e; none",
]
FOREIGN = [
    "mx.example.org; spf=pass",
    "other.example 1; none",
    '"a b"; none',
    "edge.example.org; none",
    "notedge.example; none",
    "edge-example; none",
    "(edge.example;) mx.example.org; none",
    "mx.example.org; spf=pass (edge.example; none)",
    'mx.example.org; spf=pass reason="edge.example; none"',
    "bücher.example.org; none",
    "mx.example.org; edge.example; none",
]


@pytest.mark.parametrize("value", FORGED)
def test_what_may_be_read_as_ours(value):
    assert claims_to_be(value.encode(), OURS)


def test_bytes_that_are_no_text_may_be_read_as_anything():
    assert claims_to_be(b"\xffedge.example; none", OURS)


@pytest.mark.parametrize("value", FOREIGN)
def test_what_is_clearly_of_others(value):
    assert not claims_to_be(value.encode(), OURS)


FWS = st.sampled_from(["", " ", "\t", "\r\n ", "\r\n\t ", "  "])
COMMENT = st.recursive(
    st.text('ab ;"=.', max_size=5) | st.sampled_from(["\\)", "\\(", "\\\\", "edge.example;"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"({''.join(parts)})"),
    max_leaves=5,
).map(lambda text: f"({text})")  # fmt: skip
CFWS = st.lists(st.tuples(FWS, COMMENT, FWS).map("".join), max_size=3).map("".join) | FWS


@st.composite
def spellings(draw, name):
    """The name in any way that the grammar of RFC 8601 2.2 has."""
    letters = [draw(st.sampled_from([each.lower(), each.upper()])) for each in name]
    if draw(st.booleans()):
        quoted = [draw(st.sampled_from([each, f"\\{each}"])) for each in letters]
        letters = ['"', *quoted, '"']
    version = draw(st.sampled_from(["", "1", "01", "23"]))
    space = draw(CFWS.filter(bool)) if version else ""
    rest = draw(st.sampled_from([" none", "spf=pass", "\r\n\tspf=pass;dkim=pass"]))
    return f"{draw(CFWS)}{''.join(letters)}{space}{version}{draw(CFWS)};{rest}"


@given(spellings("edge.example"))
def test_all_spellings_of_the_grammar_are_recognised(value):
    assert claims_to_be(value.encode(), OURS)


@given(spellings("mx.example.org"))
def test_and_others_are_not_taken_for_ours(value):
    assert not claims_to_be(value.encode(), OURS)


@given(st.binary(max_size=60))
def test_whatever_stands_there_it_is_ours_or_not(value):
    assert claims_to_be(value, OURS) in {True, False}


# --- written ------------------------------------------------------------------------------------------

RESULTS = (
    MethodResult("spf", "pass", (("smtp.mailfrom", "bob@example.org"),)),
    MethodResult(
        "dkim", "fail",
        (("header.d", "example.org"), ("header.b", "aB/+12==")), "the body is not what was signed",
    ),
    MethodResult("dmarc", "none", (("header.from", "example.org"),)),
)  # fmt: skip


def test_a_field_as_it_is_written():
    assert format_results("edge.example", RESULTS) == (
        "edge.example;\r\n\tspf=pass smtp.mailfrom=bob@example.org;\r\n"
        '\tdkim=fail reason="the body is not what was signed" header.d=example.org'
        ' header.b="aB/+12==";\r\n'
        "\tdmarc=none header.from=example.org"
    )
    assert format_results("edge.example", ()) == "edge.example;\r\n\tnone"


def test_another_reads_what_we_write():
    text = f"Authentication-Results: {format_results('edge.example', RESULTS)}"
    read = authres.AuthenticationResultsHeader.parse(text)
    assert read.authserv_id == "edge.example"
    assert [(each.method, each.result) for each in read.results] == [
        ("spf", "pass"), ("dkim", "fail"), ("dmarc", "none"),
    ]  # fmt: skip
    assert read.results[0].smtp_mailfrom == "bob@example.org"
    assert read.results[1].header_d == "example.org"
    assert read.results[1].reason == "the body is not what was signed"


@given(st.text(max_size=400), st.text(max_size=400))
def test_nothing_gets_out_of_a_value(value, reason):
    made = format_results(
        "edge.example", [MethodResult("x", "pass", (("policy.y", value),), reason)]
    )
    assert made.isascii()
    assert made.count("\r\n") == 1
    assert all(len(line) <= 998 for line in made.split("\r\n"))
    assert not claims_to_be(made.encode(), {"other.example"})
    assert result_of(made, "x") == "pass"
    assert result_of(made, "y") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.example.org; dmarc=pass header.from=example.org", "pass"),
        ("mx.example.org; spf=fail; DMARC = Pass (p=reject)", "pass"),
        ("mx.example.org; dmarc/1=pass", "pass"),
        ("mx.example.org; dmarc=fail; dmarc=pass", ""),
        ("mx.example.org; dmarc=pass; dmarc=pass", "pass"),
        ("mx.example.org; spf=pass (; dmarc=pass)", ""),
        ('mx.example.org; spf=pass reason="; dmarc=pass"', ""),
        ("mx.example.org; x-dmarc=pass", ""),
        ("mx.example.org; dmarc=pass/2", ""),
        ("dmarc=pass; none", ""),
        ("mx.example.org; (dmarc=pass", ""),
        ("", ""),
    ],
)
def test_what_a_field_says_of_a_method(text, expected):
    assert result_of(text, "dmarc") == expected


@pytest.mark.parametrize("piece", [b'"', b'\\"', b"(", b"\\(", b'"x" ', b"(x) ", b";", b" ", b"a"])
def test_no_field_takes_long_to_read(piece):
    value = piece * (256 * 1024 // len(piece))
    started = time.process_time()
    claims_to_be(value, OURS)
    claims_to_be(b'"' + value, OURS)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Edge.Example.", "edge.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("\u202e", ""),
        ("", ""),
    ],
)
def test_how_names_are_compared(name, expected):
    assert canonical_id(name) == expected
