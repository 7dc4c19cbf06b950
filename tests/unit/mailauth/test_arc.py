"""ARC: chains that hold and chains that do not, ours and those of ValiMail's suite."""

from __future__ import annotations

import asyncio
import base64

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.arc_sealing import seal
from relay.mailauth.canonicalization import FieldStack, body_hash, body_start
from relay.mailauth.signing import SigningKey, encoded, signed_field
from tests.kit.checks import Offloading
from tests.kit.dkim import MESSAGE, NOW, ed25519_key, record, rsa_key, zone
from tests.kit.turns import with_turns
from tests.kit.vectors import needs_vectors, read_vectors
from tests.kit.zones import FakeResolver

VECTORS = "arc-cases.json"
KEY = SigningKey("lists.example", "s1", rsa_key())
ZONES = zone(record(rsa_key()), "s1._domainkey.lists.example") | zone(
    record(ed25519_key()), "ed._domainkey.lists.example"
)


def verify(message, resolver=None, *, now=NOW, offload=None):
    resolver = resolver or FakeResolver(ZONES)
    return asyncio.run(arc.verify(split(message), resolver, offload or Offloading(), now))


def sealed(message=MESSAGE, times=1, *, key=KEY, results="lists.example; dkim=pass"):
    for _ in range(times):
        message = seal(split(message), verify(message), results, key, NOW) + message
    return message


def test_a_message_without_arc_has_no_chain():
    assert verify(MESSAGE) == arc.NO_CHAIN


@pytest.mark.parametrize("times", [1, 2, 5, 50])
def test_a_chain_of_ours_holds(times):
    found = verify(sealed(times=times))
    assert (found.result, found.reason, found.instances) == ("pass", "", times)
    assert [each.instance for each in found.sets] == list(range(1, times + 1))
    assert [each.status for each in found.sets] == ["none"] + ["pass"] * (times - 1)
    assert found.sets[-1] == (
        times, "lists.example", "s1", "pass" if times > 1 else "none", "lists.example; dkim=pass",
    )  # fmt: skip


def test_seals_are_verified_in_turns_with_others():
    def turns_of(message):
        return with_turns(arc.verify(split(message), FakeResolver(ZONES), Offloading(), NOW))[1]

    assert turns_of(sealed(times=9)) - turns_of(sealed()) == 8


def test_nobody_seals_a_fifty_first_time():
    message = sealed(times=50)
    assert seal(split(message), verify(message), "x", KEY, NOW) == b""


def test_ed25519_seals_are_understood():
    key = SigningKey("lists.example", "ed", ed25519_key())
    assert verify(sealed(sealed(), key=key)).result == "pass"


def test_who_seals_next_may_have_changed_the_message():
    changed = sealed().replace(b"Subject:  Is", b"Subject: [list] Is").replace(b"Alice.", b"--")
    assert verify(changed).result == "fail"
    # A list seals with what it found before it changed the message.
    intact = verify(sealed())
    resealed = seal(split(changed), intact._replace(fields=verify_fields(changed)), "x", KEY, NOW)
    assert verify(resealed + changed).result == "pass"


def verify_fields(message):
    """Where the fields of the one set are in a changed message."""
    header = split(message)
    return tuple(
        header.named(name)[0]
        for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"hungry", b"thirsty"), "the body is not what was signed"),
        ((b"Alice <", b"Mallory <"), "the header is not what was signed"),
        ((b"To: Bob", b"Subject: new\r\nTo: Bob"), "the header is not what was signed"),
        ((b"i=1; lists", b"i=1; evil"), "a seal is broken"),
        ((b"ARC-Seal:", b"X-Seal:"), "the sets are not complete"),
        ((b"ARC-Message-Signature:", b"X:"), "the sets are not complete"),
        ((b"ARC-Authentication-Results:", b"X:"), "the sets are not complete"),
        ((b"cv=none", b"cv=pass"), "a seal has a wrong status (cv=)"),
        ((b"cv=none", b"cv=maybe"), "a seal has a wrong status (cv=)"),
        ((b"i=1;", b"i=51;"), "an instance is no number from 1 to 50"),
        ((b"i=1;", b"i=0;"), "an instance is no number from 1 to 50"),
        ((b"i=1;", b"i=01;"), "an instance is no number from 1 to 50"),
        ((b"cv=none;", b"cv=none; h=from;"), "a seal has h="),
        ((b"cv=none;", b"cv=none; cv=none;"), "tag cv= stands there twice"),
        ((b"a=rsa-sha256;\r\n\tb=", b"a=rsa-sha1;\r\n\tb="), "SHA-1 is not accepted"),
        ((b"t=17", b"t=27"), "sealed in the future"),
        ((b"c=relaxed/relaxed;", b"c=relaxed/relaxed; l=5;"), "the header is not what was signed"),
        ((b"s=s1", b"s=s2"), "there is no key"),
        ((b"s=s1", b"s=ed"), "the key is of another type than the signature"),
    ],
)  # fmt: skip
def test_a_change_breaks_the_chain(change, reason):
    old, new = change
    message = sealed()
    assert old in message
    found = verify(message.replace(old, new))
    assert (found.result, found.reason) == ("fail", reason)
    assert not found.has_ended
    assert found.sets == ()


def test_a_set_that_is_there_twice_breaks_the_chain():
    message = sealed()
    fields = message[: -len(MESSAGE)]
    assert verify(fields + message).reason == "an instance is there twice"
    assert verify(fields * 51 + MESSAGE).reason == "there are too many sets"


def test_a_set_that_was_taken_out_breaks_the_chain():
    message = sealed(times=3)
    first = sealed(times=1)[: -len(MESSAGE)]
    assert verify(message.replace(first, b"")).reason == "the sets are not complete"


def test_an_older_seal_that_was_exchanged_breaks_the_chain():
    message = sealed(times=2)
    foreign = sealed(results="lists.example; dkim=fail")[: -len(MESSAGE)]
    assert verify(message.replace(sealed()[: -len(MESSAGE)], foreign)).reason == "a seal is broken"


def test_a_chain_that_fails_is_sealed_as_such_and_ends():
    broken = sealed().replace(b"hungry", b"thirsty")
    told = seal(split(broken), verify(broken), "lists.example; arc=fail", KEY, NOW) + broken
    assert b"cv=fail" in told
    found = verify(told)
    assert (found.result, found.has_ended, found.instances) == ("fail", True, 2)
    assert seal(split(told), found, "x", KEY, NOW) == b""


def test_a_second_author_breaks_the_chain():
    assert verify(b"From: mallory@example.net\r\n" + sealed()).result == "fail"
    once = seal(split(MESSAGE), arc.NO_CHAIN, "x", KEY, NOW, names=(b"from", b"to")) + MESSAGE
    assert verify(once).result == "pass"
    found = verify(b"From: mallory@example.net\r\n" + once)
    assert (found.result, found.reason) == ("fail", "there is a From that is not signed")


def test_a_chain_over_a_part_of_the_body_is_none():
    tags = {
        "i": "1",
        "a": "rsa-sha256",
        "b": "",
        "d": KEY.domain,
        "s": KEY.selector,
        "h": "from",
        "l": "3",
    }
    header = split(MESSAGE)
    body = body_hash(MESSAGE, body_start(header), relaxed=True, lengths=(3,))
    tags["bh"] = encoded(body.digests[3])
    part = signed_field(
        "ARC-Message-Signature", tags, KEY, FieldStack.of(header), (b"from",), relaxed=True
    )
    rest = b"ARC-Seal: i=1; cv=none; a=rsa-sha256; b=AAAA; d=a.example; s=x\r\nARC-Authentication-Results: i=1; x\r\n"
    found = verify(part + rest + MESSAGE)
    assert (found.result, found.reason) == ("fail", "only a part of the body is signed (l=)")


@pytest.mark.parametrize("which", ["s1._domainkey.lists.example", "ed._domainkey.lists.example"])
def test_a_silent_name_server_is_a_temporary_error_and_nothing_is_sealed(which):
    message = sealed(sealed(key=SigningKey("lists.example", "ed", ed25519_key())))
    found = verify(message, FakeResolver(ZONES, failing=[which]))
    assert (found.result, found.reason) == ("temperror", "the DNS did not give the key")
    assert seal(split(message), found, "x", KEY, NOW) == b""


def test_seals_are_not_looked_up_before_the_newest_message_signature_holds():
    resolver = FakeResolver(ZONES)
    verify(sealed(times=3).replace(b"hungry", b"thirsty"), resolver)
    assert len(resolver.asked) == 1


def test_a_large_message_is_verified_in_turns_with_others():
    offload = Offloading()
    message = sealed(MESSAGE + b"x\r\n" * 300_000)
    found, turns = with_turns(arc.verify(split(message), FakeResolver(ZONES), offload, NOW))
    assert (found.result, offload.times) == ("pass", 0)
    assert turns > len(message) // (64 * 1024) - 2


def test_a_large_header_is_verified_beside_the_loop():
    offload = Offloading()
    message = sealed(b"X-Large: " + b"%b\r\n " % (b"x" * 90) * 1_300 + b"x\r\n" + MESSAGE)
    assert verify(message, offload=offload).result == "pass"
    assert offload.times == 2


# --- ValiMail's suite -------------------------------------------------------------------------------


def load_cases(kind):
    return [pytest.param(case, id=case["id"]) for case in read_vectors(VECTORS, kind)]


def resolver_of(case):
    return FakeResolver(
        {
            name: {"TXT": [entry["TXT"] for entry in entries]}
            for name, entries in case["dns"].items()
        }
    )


@needs_vectors(VECTORS)
@pytest.mark.parametrize("case", load_cases("validate"))
def test_the_suite_agrees_on_a_chain(case):
    found = verify(base64.b64decode(case["message_b64"]), resolver_of(case))
    # The suite has no word for a chain that a handler before us has ended; RFC 8617 5.2 says fail.
    expected = (case["cv"] or "fail", not case["cv"])
    assert (found.result.value, found.has_ended) == expected, found.reason


def merged_results(header, authserv_id):
    """What RFC 8617 4.1.1 puts into the new set: all that this authserv-id has found."""
    found = [header.value(field) for field in header.named(b"authentication-results")]
    ours = [text.partition(";")[2].strip() for text in found if text.startswith(f"{authserv_id};")]
    return f"{authserv_id}; " + "; ".join(ours)


def tags_of(field):
    return set(filter(None, "".join(field.split()).split(";")))


@needs_vectors(VECTORS)
@pytest.mark.parametrize("case", load_cases("sign"))
def test_the_suite_agrees_on_a_seal(case):
    message = base64.b64decode(case["message_b64"])
    header = split(message)
    key = load_pem_private_key(case["privatekey"].encode(), None)
    found = verify(message, resolver_of(case))
    made = seal(
        header,
        found,
        merged_results(header, case["srv-id"]),
        SigningKey(case["domain"], case["selector"], key),
        NOW.fromtimestamp(int(case["t"]), NOW.tzinfo),
        names=tuple(case["sig-headers"].lower().encode().split(b":")),
    )
    block = split(made)
    values = {field.name: block.value(field) for field in block.fields} if made else {}
    names = {
        "AS": b"arc-seal",
        "AMS": b"arc-message-signature",
        "AAR": b"arc-authentication-results",
    }
    for word, name in names.items():
        assert tags_of(values.get(name, "")) == tags_of(case[word] or ""), word
