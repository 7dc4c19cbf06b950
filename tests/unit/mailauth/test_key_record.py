"""Keys in the DNS: which are good, and where they are."""

from __future__ import annotations

import asyncio
import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.mailauth.key_record import format_key_record, key_name, look_up_keys, parse_key_record
from relay.mailauth.signing import SigningKey
from relay.mailauth.verification import DkimResult, Refusal
from tests.kit.dkim import ed25519_key, record, rsa_key, short_rsa_key
from tests.kit.zones import FakeResolver

RSA = record(rsa_key())
P = RSA.rpartition("p=")[2]
ED = record(ed25519_key()).rpartition("p=")[2]
ELLIPTIC = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        (RSA, 2048),
        (f"p={P}", 2048),
        (f"p={P};", 2048),
        (f"k=rsa; p={P[:20]} \n\t{P[20:]}", 2048),
        (f"v=DKIM1; k=ed25519; p={ED}", 256),
        (f"v=DKIM1; h=sha1:sha256; s=email; t=y : s; n=a note; g=*; p={P}", 2048),
        (f"v=DKIM1; h=sha256; s=other : *; p={P}", 2048),
        (record(short_rsa_key()), 768),
    ],
)
def test_a_record_is_read(text, bits):
    assert parse_key_record(text).bits == bits


def test_flags_are_read():
    plain, testing, strict = (
        parse_key_record(f"{tags}p={P}") for tags in ("", "t=y; ", "t=s:unknown; ")
    )
    assert (plain.is_testing, plain.is_strict) == (False, False)
    assert (testing.is_testing, testing.is_strict) == (True, False)
    assert (strict.is_testing, strict.is_strict) == (False, True)


def test_a_bare_rsa_key_is_read_too():
    bare = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert parse_key_record(f"p={base64.b64encode(bare).decode()}").bits == 2048


def test_what_is_remembered_of_the_dns_is_bounded():
    long = f"p={P}; n={'x' * 10_000}"
    assert parse_key_record(f"p={P}") is parse_key_record(f"p={P}")
    assert parse_key_record(long) == parse_key_record(long)
    assert parse_key_record(long) is not parse_key_record(long)


def huge_exponent():
    numbers = rsa_key().public_key().public_numbers()
    key = rsa.RSAPublicNumbers((1 << 2040) | 1, numbers.n).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def huge_modulus():
    key = rsa.RSAPublicNumbers(65537, (1 << 8192) | 1).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the key's record has no key"),
        ("v=spf1 -all", "the key's record is of another version"),
        ("some text", "malformed tag list"),
        (f"v=DKIM2; p={P}", "the key's record is of another version"),
        (f"v=dkim1; p={P}", "the key's record is of another version"),
        (f"p={P}; v=DKIM1", "the key's record is of another version"),
        ("v=DKIM1; k=rsa", "the key's record has no key"),
        ("v=DKIM1; p=", "the key was revoked"),
        ("v=DKIM1; p= ;", "the key was revoked"),
        (f"v=DKIM1; h=sha1; p={P}", "the key is not for SHA-256"),
        (f"v=DKIM1; h=; p={P}", "the key is not for SHA-256"),
        (f"v=DKIM1; s=tlsrpt; p={P}", "the key is not for mail"),
        (f"v=DKIM1; k=dsa; p={P}", "a key of unknown type"),
        (f"v=DKIM1; k=RSA; p={P}", "a key of unknown type"),
        (f"v=DKIM1; k=ed25519; p={P}", "the key can't be read"),
        (f"v=DKIM1; k=rsa; p={ED}", "the key can't be read"),
        (f"v=DKIM1; k=rsa; p={ELLIPTIC}", "the key is of another type than its record says"),
        (f"v=DKIM1; p={P[:-8]}", "the key can't be read"),
        (f"v=DKIM1; p={P[:-1]}", "p= is no base64"),
        (f"v=DKIM1; p=!{P}", "p= is no base64"),
        (f"v=DKIM1; p={P}; p={P}", "tag p= stands there twice"),
        (f"v=DKIM1; p={huge_exponent()}", "the key is too large"),
        (f"v=DKIM1; p={huge_modulus()}", "the key is too large"),
        ("v=DKIM1; p=" + "A" * 17000, "the tag list is too long"),
        ("v=DKIM1; n=\udcff\x00; p=", "control characters in a tag list"),
    ],
)
def test_a_record_is_refused(text, reason):
    with pytest.raises(Refusal) as refused:
        parse_key_record(text)
    assert refused.value.reason == reason


def look_up(records, **resolver):
    fake = FakeResolver({"s1._domainkey.example.org": records}, **resolver)
    names = ("s1._domainkey.example.org",)
    return asyncio.run(look_up_keys(names, fake))[names[0]]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ({}, "there is no key"),
        ({"TXT": []}, "there is no key"),
        ({"TXT": ["v=DKIM1; p="]}, "the key was revoked"),
        ({"TXT": [RSA, f"p={P}"]}, "more than one key"),
    ],
)
def test_a_name_has_no_good_key(records, reason):
    found = look_up(records)
    assert isinstance(found, Refusal)
    assert (found.reason, found.result) == (reason, DkimResult.PERMERROR)


def test_what_is_no_key_beside_one_does_no_harm():
    assert look_up({"TXT": ["google-site-verification=abc def", RSA]}).bits == 2048


def test_a_silent_name_server_is_a_temporary_error():
    found = look_up({"TXT": RSA}, failing=["s1._domainkey.example.org"])
    assert (found.reason, found.result) == ("the DNS did not give the key", DkimResult.TEMPERROR)


def test_keys_are_looked_up_side_by_side():
    zones = {f"s{n}._domainkey.example.org": {"TXT": RSA} for n in range(3)}
    resolver = FakeResolver(zones, failing=["s1._domainkey.example.org"])
    found = asyncio.run(look_up_keys(sorted(zones), resolver))
    assert [isinstance(found[name], Refusal) for name in sorted(zones)] == [False, True, False]
    assert len(resolver.asked) == 3


@pytest.mark.parametrize("selector", ["a" * 64, ".".join(["abc"] * 60)])
def test_a_name_that_none_can_have_is_not_asked_for(selector):
    resolver = FakeResolver()
    name = key_name("example.org", selector)
    (found,) = asyncio.run(look_up_keys((name,), resolver)).values()
    assert found.reason == "no domain can have that name"
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("domain", "selector", "name"),
    [
        ("example.org", "s1", "s1._domainkey.example.org"),
        ("bücher.example", "schlüssel.a", "xn--schlssel-95a.a._domainkey.xn--bcher-kva.example"),
    ],
)
def test_where_a_key_is(domain, selector, name):
    assert key_name(domain, selector) == name


@pytest.mark.parametrize("selector", ["ü" * 60, "\u0300a", "ü" * 64, "_\u00ad"])
def test_what_has_no_spelling_in_the_dns_is_refused(selector):
    with pytest.raises(Refusal, match="d= or s= is no domain"):
        key_name("example.org", selector)


@pytest.mark.parametrize("private", [rsa_key(), ed25519_key()], ids=["rsa", "ed25519"])
def test_a_key_knows_its_signatures(private):
    key = parse_key_record(record(private))
    signer = SigningKey("example.org", "s1", private)
    digest = sha256(b"x").digest()
    signature = signer.sign(digest)
    assert key.algorithm == signer.algorithm
    assert key.has_signed(digest, signature)
    assert not key.has_signed(sha256(b"y").digest(), signature)
    assert not key.has_signed(digest, signature[:-1])
    assert not key.has_signed(digest, b"")


def test_a_short_key_and_one_of_another_type_may_not_be_used():
    short = parse_key_record(record(short_rsa_key()))
    with pytest.raises(Refusal, match="the key has only 768 bits"):
        short.check_use("rsa-sha256", 1024)
    with pytest.raises(Refusal, match="of another type"):
        short.check_use("ed25519-sha256", 1024)
    parse_key_record(record(ed25519_key())).check_use("ed25519-sha256", 4096)


@pytest.mark.parametrize("key", [rsa_key(), rsa_key(1024), ed25519_key()])
def test_the_record_that_we_publish_is_read_back(key):
    found = parse_key_record(format_key_record(key.public_key()))
    assert found.key == key.public_key()
    assert (found.is_testing, found.is_strict) == (False, False)
    assert format_key_record(key.public_key()) == record(key)
