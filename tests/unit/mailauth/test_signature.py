"""What is told of a signature without its key."""

from __future__ import annotations

import base64

import pytest

from relay.mailauth.signature import parse_dkim_signature, parse_message_signature
from relay.mailauth.tag_list import parse_tag_list
from relay.mailauth.verification import Refusal
from tests.kit.dkim import NOW

HASH = base64.b64encode(bytes(32)).decode()
GOOD = {
    "v": "1", "a": "rsa-sha256", "d": "Example.ORG", "s": "S1", "h": "From:to : FROM", "bh": HASH, "b": "AAAA",
}  # fmt: skip
AT = int(NOW.timestamp())


def field(**changed):
    tags = GOOD | changed
    return "; ".join(
        f"{name}={value}" for name, value in tags.items() if value is not None
    ).encode()


def read(**changed):
    return parse_dkim_signature(field(**changed), NOW)


def refusal(**changed):
    with pytest.raises(Refusal) as refused:
        read(**changed)
    return refused.value.reason


def test_a_signature_is_read():
    found = read()
    assert found.algorithm == "rsa-sha256"
    assert (found.domain, found.selector, found.identity) == ("example.org", "s1", "@example.org")
    assert found.fields == (b"from", b"to", b"from")
    assert (found.relaxed_header, found.relaxed_body) == (False, False)
    assert (found.body_hash, found.signature) == (bytes(32), b"\0\0\0")
    assert found.body_length is None
    assert not found.is_of_subdomain


@pytest.mark.parametrize(
    ("c", "header", "body"),
    [("simple", 0, 0), ("relaxed", 1, 0), ("simple/relaxed", 0, 1), ("relaxed/relaxed", 1, 1)],
)
def test_canonicalization_is_named_for_header_and_body(c, header, body):
    found = read(c=c)
    assert (found.relaxed_header, found.relaxed_body) == (bool(header), bool(body))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"v": None}, "v= is missing"),
        ({"v": "2"}, "unknown version"),
        ({"v": "1.0"}, "unknown version"),
        ({"a": None}, "a= is missing"),
        ({"a": ""}, "a= is empty"),
        ({"a": "rsa-sha1"}, "SHA-1 is not accepted"),
        ({"a": "RSA-SHA256"}, "unknown algorithm"),
        ({"a": "dsa-sha256"}, "unknown algorithm"),
        ({"b": None}, "b= is missing"),
        ({"b": ""}, "b= is empty"),
        ({"b": "A"}, "b= is no base64"),
        ({"b": "AAA*"}, "b= is no base64"),
        ({"bh": None}, "bh= is missing"),
        ({"bh": "AAAA"}, "bh= is no SHA-256 hash"),
        ({"bh": HASH[:-1]}, "bh= is no base64"),
        ({"c": ""}, "unknown canonicalization"),
        ({"c": "nowsp"}, "unknown canonicalization"),
        ({"c": "relaxed/"}, "unknown canonicalization"),
        ({"c": "relaxed/relaxed/relaxed"}, "unknown canonicalization"),
        ({"d": None}, "d= is missing"),
        ({"d": "org"}, "d= is no domain"),
        ({"d": "example..org"}, "d= or s= is no domain"),
        ({"d": "exam ple.org"}, "d= or s= is no domain"),
        ({"d": "-a.example.org"}, "d= or s= is no domain"),
        ({"d": "example.org."}, "d= or s= is no domain"),
        ({"d": "a@example.org"}, "d= or s= is no domain"),
        ({"d": "a" * 250 + ".org"}, "d= or s= is no domain"),
        ({"d": "a\u2028.org"}, "d= or s= is no domain"),
        ({"s": None}, "s= is missing"),
        ({"s": ""}, "s= is empty"),
        ({"s": "a:b"}, "d= or s= is no domain"),
        ({"h": None}, "h= is missing"),
        ({"h": ""}, "h= is malformed"),
        ({"h": "from::to"}, "h= is malformed"),
        ({"h": "to:subject"}, "From is not signed"),
        ({"h": "from2:resent-from"}, "From is not signed"),
        ({"i": "@example.net"}, "i= is not of d="),
        ({"i": "a@notexample.org"}, "i= is not of d="),
        ({"i": "example.org"}, "i= is not of d="),
        ({"i": ""}, "i= is not of d="),
        ({"l": ""}, "l= is no number"),
        ({"l": "-1"}, "l= is no number"),
        ({"l": "1 0"}, "l= is no number"),
        ({"l": "1" * 77}, "l= is no number"),
        ({"l": "\u0663"}, "l= is no number"),
        ({"q": "dns/other"}, "unknown way to the key (q=)"),
        ({"t": "now"}, "t= is no date"),
        ({"t": ""}, "t= is no date"),
        ({"t": "-1"}, "t= is no date"),
        ({"x": "0x10"}, "x= is no date"),
        ({"t": str(AT + 3601)}, "signed in the future"),
        ({"x": str(AT - 301)}, "expired"),
        ({"x": "0"}, "expired"),
        ({"t": str(AT - 50), "x": str(AT - 50)}, "expires before it was signed"),
        ({"t": str(AT - 50), "x": str(AT - 60)}, "expires before it was signed"),
    ],
)
def test_a_signature_is_refused(changed, reason):
    assert refusal(**changed) == reason


@pytest.mark.parametrize(
    "changed",
    [
        {"d": "xn--bcher-kva.example"},
        {"d": "bücher.example", "i": "jürgen@post.BÜCHER.example"},
        {"d": "bücher.example", "i": "@xn--bcher-kva.example"},
        {"s": "2026.key_1"},
        {"s": "_x"},
        {"i": "@Mail.Example.org"},
        {"i": '"a@b"@example.org'},
        {"l": "0"},
        {"l": "9" * 76},
        {"q": "dns/other : dns/txt"},
        {"t": str(AT + 3600)},
        {"t": "1" * 12, "x": None} | {"t": str(AT)},
        {"x": "9" * 13},
        {"x": str(AT - 300)},
        {"t": str(AT - 60), "x": str(AT - 50)},
        {"z": "From:a|To:b"},
        {"unknown": "tag"},
        {"b": "AA\r\n\tAA"},
        {"bh": f" {HASH[:10]} \r\n {HASH[10:]}"},
    ],
)
def test_a_signature_is_accepted(changed):
    read(**changed)


@pytest.mark.parametrize("tag", [b"d", b"s"])
def test_a_domain_that_is_no_utf_8_is_refused(tag):
    value = field().replace(tag + b"=", tag + b"=\xff")
    with pytest.raises(Refusal, match="d= or s= is no domain"):
        parse_dkim_signature(value, NOW)


def test_domains_are_canonical_whatever_their_spelling():
    spellings = {
        read(d=d).domain for d in ("bücher.example", "xn--bcher-kva.Example", "BÜCHER.example")
    }
    assert spellings == {"bücher.example"}


@pytest.mark.parametrize(
    ("identity", "is_of_subdomain"),
    [("@example.org", False), ("a@EXAMPLE.org", False), ("@mail.example.org", True)],
)
def test_an_identity_of_a_subdomain_is_noticed(identity, is_of_subdomain):
    assert read(i=identity).is_of_subdomain == is_of_subdomain


def test_a_message_signature_needs_no_from_and_is_relaxed_by_default():
    found = parse_message_signature(parse_tag_list(field(i="1", h="", v=None)), NOW)
    assert (found.relaxed_header, found.relaxed_body, found.identity) == (True, True, "")


def test_a_message_signature_does_not_cover_seals():
    with pytest.raises(Refusal, match="h= has ARC-Seal"):
        parse_message_signature(parse_tag_list(field(i="1", h="from:ARC-Seal")), NOW)
