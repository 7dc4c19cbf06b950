"""Who gets which signature, and that it is over the message as it leaves us."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relay.inbound.signing import Signing
from relay.mail.headers import split
from relay.mailauth.keyring import Keyring
from relay.mailauth.signing import SigningKey
from relay.model import Address, Endpoint, Identity
from relay.policy.case import Case
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, ed25519_key, record, rsa_key, verified
from tests.kit.turns import with_turns

RSA = SigningKey("example.org", "rsa", rsa_key())
ED25519 = SigningKey("example.org", "ed", ed25519_key())
EDGE = SigningKey("edge.example", "edge", ed25519_key())
ZONES = {
    "rsa._domainkey.example.org": {"TXT": record(rsa_key())},
    "ed._domainkey.example.org": {"TXT": record(ed25519_key())},
    "edge._domainkey.edge.example": {"TXT": record(ed25519_key())},
}
AUTHOR = ("author",)
OURS = b"Received: from a by edge.example; now\r\nGatepost-Identity: acme; status=pinned\r\n"
ACME = Identity("acme", senders=("@example.org",))
ANYBODY = Identity("anybody")


def case(message=MESSAGE, identity=ACME):
    header = split(message)
    return Case(
        peer=Endpoint("192.0.2.1", 1), listener="partners", identity=identity,
        header=header, message=message, authors=header.authors,
    )  # fmt: skip


def signed(keys, message=MESSAGE, identity=ACME, chunks=None, **options):
    signing = Signing(Keyring.of(keys, **options), FakeClock())
    found = asyncio.run(signing.sign(chunks or [OURS, message], case(message, identity)))
    return b"".join(found)


def verdicts(message):
    found = verified(message, ZONES, now=FakeClock().now())
    return [(each.domain, each.selector, each.result.value) for each in found]


def test_all_keys_of_the_authors_domain_sign():
    message = signed([(RSA, AUTHOR), (ED25519, AUTHOR), (EDGE, AUTHOR)])
    assert verdicts(message) == [("example.org", "rsa", "pass"), ("example.org", "ed", "pass")]
    assert message.endswith(OURS + MESSAGE)


@pytest.mark.parametrize(
    ("senders", "author", "is_signed"),
    [
        (("@example.org",), "alice@example.org", True),
        (("alice@example.org",), "alice@example.org", True),
        (("bob@example.org",), "alice@example.org", False),  # not in our name either
        (("@example.net",), "alice@example.org", False),
        (("@.example.org",), "alice@example.org", False),
        (("@example.org", "@.example.org"), "alice@mail.example.org", False),  # no such key
        (("*",), "alice@EXAMPLE.org", True),
        (("*",), "alice@example.org.", False),  # no address
        (None, "alice@example.org", False),  # may send as anybody: proves nothing
        ((), "alice@example.org", False),
    ],
)
def test_an_identity_gets_signatures_only_of_whom_it_may_send_as(senders, author, is_signed):
    message = MESSAGE.replace(b"alice@example.org", author.encode())
    found = signed([(RSA, AUTHOR)], message, Identity("acme", senders=senders))
    assert found.startswith(b"DKIM-Signature") == is_signed


@pytest.mark.parametrize(
    "author",
    [
        b"From: alice@example.org, mallory@example.net\r\n",  # of two domains
        b"From: alice@example.org\r\nFrom: mallory@example.net\r\n",
        b"From: nobody\r\n",
        b"",
    ],
)
def test_a_message_without_one_author_domain_is_nobodys(author):
    everyone = Identity("acme", senders=("*",))
    message = author + b"Subject: x\r\n\r\nHi\r\n"
    assert signed([(RSA, AUTHOR)], message, everyone) == OURS + message


def test_two_authors_of_one_domain_are_signed_for_if_both_may_be_named():
    message = b"From: alice@example.org, bob@example.org\r\n\r\nHi\r\n"
    assert verdicts(signed([(RSA, AUTHOR)], message)) == [("example.org", "rsa", "pass")]
    only_alice = Identity("acme", senders=("alice@example.org",))
    assert verdicts(signed([(RSA, AUTHOR)], message, only_alice)) == []


def test_a_stranger_gets_no_signature_of_its_authors_domain():
    assert verdicts(signed([(RSA, AUTHOR)], identity=None)) == []


@pytest.mark.parametrize("identity", [ACME, ANYBODY, None])
def test_who_sent_a_message_is_vouched_for_whoever_it_is(identity):
    message = signed([(EDGE, ("identity",))], identity=identity)
    assert verdicts(message) == [("edge.example", "edge", "pass")]


@pytest.mark.parametrize(
    "author",
    [
        b"ceo@edge.example",
        b"ceo@mail.edge.example",
        b"CEO <ceo@Edge.Example>",
        b"mallory@example.net, ceo@edge.example",
        b"Office: CEO <ceo@edge.example>",  # can't be read, but somebody might
    ],
)
@pytest.mark.parametrize("identity", [ANYBODY, None, Identity("acme", senders=("@example.org",))])
def test_the_relays_own_signature_proves_no_author_of_its_organization(author, identity):
    """DMARC takes any signature of the organization for the author's: a stranger would be our director."""
    keys = [(SigningKey("relay.edge.example", "edge", ed25519_key()), ("identity",))]
    message = b"From: %b\r\n\r\nPay this\r\n" % author
    assert signed(keys, message, identity) == OURS + message
    chief = Identity("chief", senders=("@edge.example", "@.edge.example", "@example.net"))
    is_readable = split(message).authors is not None
    assert signed(keys, message, chief).startswith(b"DKIM-Signature") == is_readable


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Identity: acme", b"Identity: bank"),
        (OURS, OURS + b"Gatepost-Identity: bank\r\n"),
        (b"Gatepost-Identity: acme; status=pinned\r\n", b""),
        (b"Alice <alice", b"Alice <mallory"),
        (b"hungry", b"thirsty"),
    ],
)
def test_no_other_sender_can_be_put_in(old, new):
    message = signed([(EDGE, ("identity",))])
    assert old in message
    assert verdicts(message.replace(old, new))[0][2] == "fail"


def test_what_we_have_found_is_vouched_for():
    chunks = [b"Authentication-Results: edge.example; spf=pass\r\n", MESSAGE]
    message = signed([(EDGE, ("identity",))], chunks=chunks)
    assert verdicts(message)[0][2] == "pass"
    assert verdicts(message.replace(b"spf=pass", b"spf=fail"))[0][2] == "fail"


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (ACME, b" i=acme@edge.example;"),
        (Identity("acme.billing-1"), b" i=acme.billing-1@edge.example;"),
        (Identity("two words"), b""),
        (Identity("a..b"), b""),
        (None, b""),
    ],
)
def test_the_signature_names_on_whose_behalf_it_is(identity, expected):
    message = signed([(EDGE, ("identity",))], identity=identity)
    unfolded = message.replace(b"\r\n\t", b" ")
    assert expected in unfolded
    assert (b" i=" in unfolded) == bool(expected)
    assert verdicts(message)[0][2] == "pass"


def test_signatures_end_when_they_are_told_to():
    fields = signed([(RSA, AUTHOR), (EDGE, ("identity",))], lifetime=timedelta(days=5))
    assert fields.count(b" x=") == 2


@pytest.mark.parametrize(
    "message",
    [
        b"From: alice@example.org\r\nX-Secret: 1\r\nTo: bob@example.net\r\n\r\nHi\r\n",
        b"From: alice@example.org\r\nX-Secret: 1\r\n",
        b"X-Secret: 1\r\nFrom: alice@example.org\r\n\r\n",
    ],
)
def test_fields_that_were_taken_out_are_not_signed(message):
    block = split(message)
    signed_of = (b"x-secret",)
    message = signed([(RSA, AUTHOR)], message, chunks=[OURS, *block.without(signed_of)])
    assert b"X-Secret" not in message
    assert verdicts(message) == [("example.org", "rsa", "pass")]


@pytest.mark.parametrize("message", [b"", b"no header", b"\r\nonly a body\r\n"])
def test_a_message_without_header_is_vouched_for_too(message):
    separator = b"" if split(message).is_separated else b"\r\n"
    found = signed([(EDGE, ("identity",))], message, chunks=[OURS + separator, message])
    assert verdicts(found) == [("edge.example", "edge", "pass")]


def test_a_large_body_is_hashed_in_turns_with_others():
    message = MESSAGE + b"line\r\n" * 200_000
    signing = Signing(Keyring.of([(RSA, AUTHOR)]), FakeClock())
    found, turns = with_turns(signing.sign([OURS, message], case(message)))
    assert verdicts(b"".join(found))[0][2] == "pass"
    assert turns > len(message) // (64 * 1024) - 2


def test_without_a_key_that_fits_the_message_is_what_it_was():
    chunks = [OURS, MESSAGE]
    signing = Signing(Keyring.of([(EDGE, AUTHOR)]), FakeClock())
    assert asyncio.run(signing.sign(chunks, case())) is chunks


def test_addresses_in_other_scripts_are_signed_for():
    key = SigningKey("xn--bcher-kva.example", "s", ed25519_key())
    reader = Identity("acme", senders=("@bücher.example",))
    message = "From: Jürgen <jürgen@bücher.example>\r\nSubject: Grüße\r\n\r\nHallo\r\n".encode()
    assert split(message).authors == (Address("jürgen", "bücher.example"),)
    found = signed([(key, AUTHOR)], message, reader)
    zones = {"s._domainkey.xn--bcher-kva.example": {"TXT": record(ed25519_key())}}
    (verdict,) = verified(found, zones, now=FakeClock().now())
    assert verdict.result.value == "pass"
