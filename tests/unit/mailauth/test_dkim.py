"""DKIM verification: which signatures pass, and why others do not."""

from __future__ import annotations

import asyncio

import pytest

from relay.mail.headers import split
from relay.mailauth import dkim
from relay.mailauth.dkim import Acceptance
from relay.mailauth.verification import DkimResult
from tests.kit.checks import Offloading
from tests.kit.dkim import (
    MESSAGE,
    NOW,
    ed25519_key,
    record,
    rsa_key,
    short_rsa_key,
    signed,
    verified,
    zone,
)
from tests.kit.turns import with_turns
from tests.kit.zones import FakeResolver

CANONICALIZATIONS = (
    "simple/simple",
    "simple/relaxed",
    "relaxed/simple",
    "relaxed/relaxed",
    "simple",
    "relaxed",
)


def verdict(message, resolver=None, acceptance=None):
    (found,) = verified(message, resolver, acceptance)
    return found.result.value, found.reason


PASS = ("pass", "")
HEADER = ("fail", "the header is not what was signed")
BODY = ("fail", "the body is not what was signed")
FROM = ("fail", "there is a From that is not signed")


@pytest.mark.parametrize("c", CANONICALIZATIONS)
@pytest.mark.parametrize("key", [rsa_key(), ed25519_key()], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        MESSAGE.rstrip(b"\r\n"),  # no line end
        MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",  # empty body
        MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n",  # no body at all
        "From: Jürgen <jürgen@bücher.example>\r\nSubject: Grüße\r\n\r\nGrüße \r\n".encode(),
        b"From: x@example.org\r\n\r\n\xff\xfe 8-bit \r\n\r\n",
    ],
    ids=["text", "no line end", "empty body", "no body", "utf-8", "8-bit"],
)
def test_what_was_signed_passes(message, key, c):
    assert verdict(signed(message, key, c=c), record(key)) == PASS


def test_a_verdict_says_all_about_the_signature():
    message = signed(i="news@mail.example.org")
    (found,) = verified(message)
    assert found == (
        DkimResult.PASS, "", "example.org", "s1", "news@mail.example.org", "rsa-sha256",
        found.signature, 2048, None, False,
    )  # fmt: skip
    assert f"b={found.signature}".encode() in message


@pytest.mark.parametrize(
    ("old", "new", "simple", "relaxed"),
    [
        (b"Alice <", b"Mallory <", HEADER, HEADER),
        (b"dinner", b"Dinner", HEADER, HEADER),
        (b"Subject:  Is   dinner ready? \r\n", b"subject: Is dinner\r\n  ready?\r\n", HEADER, PASS),
        (b"To: Bob", b"To:Bob", HEADER, PASS),
        (b"net>,\r\n Carol", b"net>, Carol", HEADER, PASS),
        (b"net>,\r\n Carol", b"net>,Carol", HEADER, HEADER),
        (b"Message-ID: <1@example.org>\r\n", b"", HEADER, HEADER),
        (b"\r\n\r\nHi.", b"\r\nX-New: field\r\n\r\nHi.", PASS, PASS),
        (b"Received: from client", b"Received: from elsewhere", PASS, PASS),
        (b"\r\n\r\nHi.", b"\r\nSubject: another\r\n\r\nHi.", HEADER, HEADER),
        (b"Received: from", b"Subject: on top\r\nReceived: from", PASS, PASS),  # not oversigned
        (b"Received: from", b"From: x@example.net\r\nReceived: from", FROM, FROM),
        (b"\r\n\r\nHi.", b"\r\nFROM : x@example.net\r\n\r\nHi.", FROM, FROM),
        (b"hungry", b"Hungry", BODY, BODY),
        (b"lost  the\tgame. ", b"lost the game.", BODY, PASS),
        (b"lost  the", b"lostthe", BODY, BODY),
        (b"\r\n\r\n\r\n", b"\r\n", PASS, PASS),
        (b"Alice.\r\n", b"Alice.\r\n\r\n\r\n\r\n", PASS, PASS),
        (b"Alice.\r\n", b"Alice.\r\n \r\n", BODY, PASS),
        (b"Alice.\r\n", b"Alice.\r\n.\r\n", BODY, BODY),
        (b"yet?\r\n\r\n", b"yet?\r\n", BODY, BODY),
    ],
)
def test_a_change_on_the_way(old, new, simple, relaxed):
    for c, expected in (("simple/simple", simple), ("relaxed/relaxed", relaxed)):
        field, message = signed(c=c)[: -len(MESSAGE)], MESSAGE.replace(old, new, 1)
        assert message != MESSAGE
        assert verdict(field + message) == expected, c


@pytest.mark.parametrize(
    ("names", "added", "expected"),
    [
        ("from:from:subject:subject", b"Subject: on top\r\n", HEADER),
        ("from:from:subject", b"From: x@example.net\r\n", HEADER),
        ("from:cc", b"Cc: x@example.net\r\n", HEADER),
        ("from:received", b"Received: by the next hop\r\n", PASS),
        ("from:received:received", b"Received: by the next hop\r\n", HEADER),
    ],
)
def test_a_field_signed_once_more_than_it_is_there_can_not_be_added(names, added, expected):
    field = signed(h=names)[: -len(MESSAGE)]
    assert verdict(field + MESSAGE) == PASS
    assert verdict(field + added + MESSAGE) == expected


def test_two_froms_pass_if_both_were_signed():
    message = b"From: b@example.org\r\n" + MESSAGE
    assert verdict(signed(message, h="from:from")) == PASS
    assert verdict(signed(message, h="from")) == FROM


def test_a_signature_means_other_signatures_by_dkim_signature_and_not_itself():
    first = signed(h="from:subject")
    second = signed(first, h="from:dkim-signature:dkim-signature", s="s2")
    zones = zone(record(rsa_key())) | zone(record(rsa_key()), "s2._domainkey.example.org")
    assert [each.result for each in verified(second, zones)] == ["pass", "pass"]
    stripped = second.replace(first[: -len(MESSAGE)], b"")
    assert [each.result for each in verified(stripped, zones)] == ["fail"]


def test_a_domain_with_letters_beyond_ascii_is_looked_up_in_ascii():
    zones = zone(record(rsa_key()), "s1._domainkey.xn--bcher-kva.example")
    for spelling in ("bücher.example", "xn--bcher-kva.example"):
        (found,) = verified(signed(d=spelling, i="ü@news.bücher.example"), zones)
        assert (found.result, found.domain) == ("pass", "bücher.example"), found.reason


# --- keys -----------------------------------------------------------------------------------------

WRONG_TYPE = ("permerror", "the key is of another type than the signature")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (record(rsa_key()), PASS),
        (record(rsa_key(), "h=sha256; s=email; "), PASS),
        (record(rsa_key(), "h=sha1; "), ("permerror", "the key is not for SHA-256")),
        (record(rsa_key(), "s=tlsrpt; "), ("permerror", "the key is not for mail")),
        (record(rsa_key(), "t=s; "), PASS),
        (record(rsa_key(1024)), HEADER),
        (record(ed25519_key()), WRONG_TYPE),
        ("v=DKIM1; p=", ("permerror", "the key was revoked")),
        ("v=DKIM1; p=AAAA", ("permerror", "the key can't be read")),
    ],
)
def test_what_the_key_allows(text, expected):
    assert verdict(signed(), text) == expected


def test_an_ed25519_signature_does_not_go_with_an_rsa_key():
    assert verdict(signed(key=ed25519_key()), record(rsa_key())) == WRONG_TYPE


def test_a_strict_key_is_not_for_subdomains():
    message = signed(i="@mail.example.org")
    assert verdict(message, record(rsa_key())) == PASS
    expected = ("permerror", "i= is of a subdomain (t=s)")
    assert verdict(message, record(rsa_key(), "t=s; ")) == expected


def test_a_key_under_test_is_as_none_unless_it_passes():
    testing = record(rsa_key(), "t=y; ")
    assert verdict(signed(), testing) == PASS
    broken = signed().replace(b"hungry", b"thirsty")
    assert verdict(broken, testing) == ("neutral", BODY[1])


@pytest.mark.parametrize(
    ("key", "acceptance", "expected"),
    [
        (short_rsa_key(), Acceptance(), ("permerror", "the key has only 768 bits")),
        (rsa_key(1024), Acceptance(), PASS),
        (rsa_key(1024), Acceptance(min_rsa_bits=2048), ("permerror", "the key has only 1024 bits")),
        (rsa_key(2048), Acceptance(min_rsa_bits=2048), PASS),
        (ed25519_key(), Acceptance(min_rsa_bits=4096), PASS),
    ],
    ids=["768", "1024", "1024 where 2048 are asked for", "2048", "ed25519"],
)
def test_short_keys_never_pass(key, acceptance, expected):
    assert verdict(signed(key=key), record(key), acceptance) == expected


def test_sha_1_never_passes_and_is_not_even_looked_up():
    resolver = FakeResolver(zone(record(rsa_key())))
    assert verdict(signed(a="rsa-sha1"), resolver) == ("permerror", "SHA-1 is not accepted")
    assert resolver.asked == []


def test_a_dns_failure_is_temporary_for_that_signature_alone():
    message = signed(signed(), s="s2")
    resolver = FakeResolver(
        zone(record(rsa_key())) | zone(record(rsa_key()), "s2._domainkey.example.org"),
        failing=["s2._domainkey.example.org"],
    )
    assert [each.result for each in verified(message, resolver)] == ["temperror", "pass"]


def test_no_key_is_permanent():
    assert verdict(signed(), FakeResolver()) == ("permerror", "there is no key")


# --- l= -------------------------------------------------------------------------------------------

LENIENT = Acceptance(partial=True)


BEYOND = ("fail", "l= is beyond the end of the body")


@pytest.mark.parametrize(("c", "size"), [("relaxed/simple", 59), ("relaxed/relaxed", 57)])
def test_a_length_is_counted_in_the_canonical_body(c, size):
    for length in (0, 10, size):
        (found,) = verified(signed(c=c, l=str(length)), acceptance=LENIENT)
        assert (found.result.value, found.unsigned_bytes) == ("pass", size - length)
    for length in (size + 1, 10**70):
        assert verdict(signed(c=c, l=str(length)), acceptance=LENIENT) == BEYOND


def test_even_a_length_that_leaves_nothing_out_is_no_pass_by_default():
    (found,) = verified(signed(l="57"))
    assert (found.result.value, found.unsigned_bytes) == ("policy", 0)


def test_what_is_appended_is_told_and_is_no_pass_by_default():
    message = signed(l="57").rstrip(b"\r\n") + b"\r\n<a href=http://evil.example>click</a>\r\n"
    (strict,) = verified(message)
    assert (strict.result.value, strict.unsigned_bytes) == ("policy", 39)
    assert strict.reason == "l= leaves 39 bytes of the body unsigned"
    (lenient,) = verified(message, acceptance=LENIENT)
    assert (lenient.result.value, lenient.unsigned_bytes) == ("pass", 39)


def test_a_body_cut_short_is_no_pass_even_where_a_part_may_be_signed():
    message = signed(l="57").replace(b"Alice.\r\n", b"")
    assert verdict(message, acceptance=LENIENT) == BEYOND


# --- limits ---------------------------------------------------------------------------------------


def test_a_message_without_signatures_has_no_verdicts():
    assert verified(MESSAGE) == ()


def test_signatures_beyond_the_limit_are_not_looked_at():
    message = MESSAGE
    for _ in range(5):
        message = signed(message)
    resolver = FakeResolver(zone(record(rsa_key())))
    assert len(verified(message, resolver, Acceptance(max_signatures=3))) == 3
    assert len(verified(message, resolver)) == 5
    assert len(resolver.asked) == 2  # one key, asked for once a message


def test_a_broken_signature_does_not_hide_a_good_one():
    message = b"DKIM-Signature: v=1; a=x; d=example.net; s=s9\r\nDKIM-Signature:\r\n" + signed()
    found = [(each.result.value, each.domain, each.selector) for each in verified(message)]
    assert found == [
        ("permerror", "example.net", "s9"),
        ("permerror", "", ""),
        ("pass", "example.org", "s1"),
    ]


def test_signatures_are_verified_in_turns_with_others():
    """A key of 8,192 bits with an odd exponent takes 2.4 ms."""
    message = MESSAGE
    for _ in range(6):
        message = signed(message)
    resolver = FakeResolver(zone(record(rsa_key())))
    _, others = with_turns(dkim.verify(split(signed()), resolver, Offloading(), NOW))
    found, turns = with_turns(dkim.verify(split(message), resolver, Offloading(), NOW))
    assert {each.result.value for each in found} == {"pass"}
    assert turns - others == 5


@pytest.mark.parametrize("size", [0, 60_000, 1_000_000])
def test_a_large_body_is_hashed_in_turns_with_others(size):
    message = signed(MESSAGE + b"y\r\n" * (size // 3))
    resolver = FakeResolver(zone(record(rsa_key())))
    _, others = with_turns(dkim.verify(split(signed(MESSAGE)), resolver, Offloading(), NOW))
    (found,), turns = with_turns(dkim.verify(split(message), resolver, Offloading(), NOW))
    assert found.result == "pass"
    assert turns - others == size // (64 * 1024)


def test_long_headers_are_verified_beside_the_loop():
    offload = Offloading()
    message = b"X-Long: " + b"%b\r\n " % (b"x" * 90) * 200 + b"x\r\n" + MESSAGE
    for _ in range(5):
        message = signed(message)
    resolver = FakeResolver(zone(record(rsa_key())))
    found = asyncio.run(dkim.verify(split(message), resolver, offload, NOW))
    assert ([each.result for each in found], offload.times) == (["pass"] * 5, 1)
