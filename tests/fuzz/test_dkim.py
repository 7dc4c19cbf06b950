"""DKIM and ARC: whatever comes in, a verdict comes out, and nothing passes that was not signed."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.arc_sealing import seal
from relay.mailauth.canonicalization import FieldStack, body_hash, body_start, relaxed_field
from relay.mailauth.key_record import parse_key_record
from relay.mailauth.signature import parse_dkim_signature, parse_message_signature
from relay.mailauth.signing import SigningKey
from relay.mailauth.tag_list import parse_tag_list, without_signature
from relay.mailauth.verification import Refusal
from tests.kit.checks import Offloading
from tests.kit.dkim import MESSAGE, NOW, ed25519_key, record, rsa_key, signed, verified
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.zones import FakeResolver

ZONES = {
    "s1._domainkey.example.org": {"TXT": record(rsa_key())},
    "ed._domainkey.example.org": {"TXT": record(ed25519_key())},
}
MESSAGES = [
    signed(),
    signed(key=ed25519_key(), s="ed", c="simple/simple"),
    signed(signed(h="from:from:subject", c="simple/relaxed"), h="from:to", c="relaxed/simple"),
    MESSAGE,
]
BODIES = {
    (relaxed, body_hash(MESSAGE, body_start(split(MESSAGE)), relaxed=relaxed).digests[None])
    for relaxed in (False, True)
}
VALUES = [message[: -len(MESSAGE)].partition(b":")[2] for message in MESSAGES[:2]] + [
    b" v=1; a=rsa-sha256; c=relaxed; d=b\xc3\xbccher.example; s=x; i=@a.b\xc3\xbccher.example; t=1;"
    b" x=99999999999; l=10; q=dns/txt; h=From:To; bh=" + b"A" * 43 + b"=; b=AAAA\r\n"
]
RECORDS = [record(rsa_key()).encode(), record(ed25519_key(), "t=y:s; h=sha256; ").encode()]


@fuzz_settings()
@given(st.one_of(mutated(VALUES + RECORDS), st.binary()))
def test_a_tag_list_is_read_or_refused(text):
    try:
        tags = parse_tag_list(text)
    except Refusal:
        return
    expected = {name: b"" if name == b"b" else value for name, value in tags.items()}
    assert parse_tag_list(without_signature(text)) == expected


@fuzz_settings()
@given(st.one_of(mutated(VALUES), st.binary()))
def test_a_signature_is_read_or_refused(value):
    try:
        found = parse_dkim_signature(value, NOW)
    except Refusal:
        pass
    else:
        assert b"from" in found.fields
        assert found.domain
        assert found.selector
    try:
        parse_message_signature(parse_tag_list(value), NOW)
    except Refusal:
        pass


@fuzz_settings()
@given(st.one_of(mutated(RECORDS), st.binary()))
def test_a_key_record_is_read_or_refused(text):
    try:
        found = parse_key_record(text.decode("utf-8", "surrogateescape"))
    except Refusal:
        return
    assert found.bits <= 8192
    assert not found.has_signed(bytes(32), b"x")


def relaxed_from(message):
    header = split(message)
    fields = header.named(b"from")
    return {relaxed_field(message[field.start : field.stop]) for field in fields}


AUTHOR = relaxed_from(MESSAGE)


@fuzz_settings()
@given(st.one_of(mutated(MESSAGES), mutated([*MESSAGES, *VALUES])))
def test_what_passes_was_signed(message):
    found = verified(message, ZONES)
    assert len(found) == len(split(message).named(b"dkim-signature")[:8])
    if any(each.result == "pass" for each in found):
        start = body_start(split(message))
        body = {
            (relaxed, body_hash(message, start, relaxed=relaxed).digests[None])
            for relaxed in (False, True)
        }
        assert body & BODIES
        assert relaxed_from(message) == AUTHOR


def sealed(message):
    found = asyncio.run(arc.verify(split(message), FakeResolver(ZONES), Offloading(), NOW))
    key = SigningKey("example.org", "s1", rsa_key())
    return seal(split(message), found, "example.org; dkim=pass", key, NOW) + message


CHAINS = [sealed(MESSAGE), sealed(sealed(MESSAGE))]


@fuzz_settings()
@given(mutated(CHAINS))
def test_a_chain_that_passes_was_sealed(message):
    found = asyncio.run(arc.verify(split(message), FakeResolver(ZONES), Offloading(), NOW))
    assert found.result in {"none", "pass", "fail"}
    if found.result == "pass":
        relaxed = body_hash(message, body_start(split(message)), relaxed=True).digests[None]
        assert (True, relaxed) in BODIES
        assert relaxed_from(message) == AUTHOR
        assert {each.authentication_results for each in found.sets} == {"example.org; dkim=pass"}


@fuzz_settings()
@given(st.lists(st.tuples(st.sampled_from([b"from", b"to", b"x"]), st.binary(max_size=20)), max_size=8),
       st.lists(st.sampled_from([b"from", b"to", b"x", b"absent"]), max_size=12), st.booleans())  # fmt: skip
def test_no_field_is_taken_twice(fields, names, relaxed):
    stack = FieldStack([(name, name + b":" + value + b"\r\n") for name, value in fields])
    taken = stack.canonical(names, relaxed=relaxed)
    assert len(taken) == sum(
        min(names.count(name), stack.count(name)) for name in {name for name, _ in fields}
    )
