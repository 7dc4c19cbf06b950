"""DKIM and ARC between us and others: what they sign verifies here, and what we sign verifies there."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.arc_sealing import seal
from relay.mailauth.canonicalization import FieldStack, body_start
from relay.mailauth.signing import SigningKey, SigningStyle, sign
from tests.kit import mailauth, opendkim
from tests.kit.checks import Offloading
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, ed25519_key, record, rsa_key, verified
from tests.kit.zones import FakeResolver

NOW = FakeClock().now()  # peers have clocks of their own
KEYS = {"rsa-sha256": rsa_key(), "ed25519-sha256": ed25519_key()}
FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
NAME = "s1._domainkey.example.org"
MESSAGES = {
    "text": MESSAGE,
    "empty body": MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
    "only empty lines": MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n\r\n\r\n",
    "utf-8": "From: Jürgen <jürgen@example.org>\r\nSubject: Grüße\r\n\r\nGrüße \t an  alle\r\n \r\n\r\n".encode(),
    "two of a name": b"To: first@example.net\r\n" + MESSAGE,
    "large": MESSAGE + b"a  line of \ttext \r\n" * 10_000,
}  # fmt: skip
CASES = list(itertools.product(MESSAGES, KEYS, FORMS))


# In its test mode opendkim reads header fields as old sendmails gave them to filters: one blank behind the
# colon. Where the header is taken as it stands, the message must have them so.
FOR_OPENDKIM = {
    "text": MESSAGE.replace(b"Subject:  Is   dinner ready? ", b"Subject: Is   dinner ready?"),
    "utf-8": MESSAGES["utf-8"],
    "two of a name": b"To: first@example.net\r\nSubject:  with  blanks \r\n" + MESSAGE,
}


def for_opendkim(form):
    names = list(FOR_OPENDKIM) if form.startswith("relaxed") else ["text", "utf-8"]
    return [(name, FOR_OPENDKIM[name]) for name in names]


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ours(message, algorithm, form):
    header = split(message)
    style = SigningStyle(
        relaxed_header=form.startswith("relaxed"), relaxed_body=form.endswith("relaxed")
    )
    key = SigningKey("example.org", "s1", KEYS[algorithm])
    return sign(FieldStack.of(header), message, body_start(header), [key], NOW, style=style)


def verdict(message, algorithm):
    (found,) = verified(message, record(KEYS[algorithm]), now=NOW)
    return found.result.value, found.reason


def failures(found, expected=("pass", "")):
    return {case: each for case, each in zip(CASES, found, strict=True) if each != expected}


def test_what_mailauth_signs_verifies_here():
    answers = mailauth.ask(
        [
            mailauth.sign(MESSAGES[name], "example.org", "s1", pem(KEYS[algorithm]),
                          algorithm=algorithm, canonicalization=form)
            for name, algorithm, form in CASES
        ]
    )  # fmt: skip
    found = [
        verdict(answer["fields"].encode() + MESSAGES[name], algorithm)
        for answer, (name, algorithm, _) in zip(answers, CASES, strict=True)
    ]
    assert failures(found) == {}


def test_what_we_sign_verifies_with_mailauth():
    answers = mailauth.ask(
        [
            mailauth.verify(ours(MESSAGES[name], algorithm, form) + MESSAGES[name],
                            {NAME: record(KEYS[algorithm])})
            for name, algorithm, form in CASES
        ]
    )  # fmt: skip
    found = [[each["result"] for each in answer["dkim"]] for answer in answers]
    assert failures(found, ["pass"]) == {}


def test_a_length_of_mailauth_is_seen_here():
    (answer,) = mailauth.ask(
        [mailauth.sign(MESSAGE, "example.org", "s1", pem(rsa_key()), length=10)]
    )
    (found,) = verified(answer["fields"].encode() + MESSAGE, record(rsa_key()), now=NOW)
    assert (found.result.value, found.unsigned_bytes) == ("policy", 47)


@pytest.mark.parametrize(
    ("algorithm", "form"),
    [
        (algorithm, form)
        for algorithm, form in itertools.product(KEYS, FORMS)
        # opendkim 2.11.0 does not verify its own Ed25519 signatures over a simple header either.
        if (algorithm, form.partition("/")[0]) != ("ed25519-sha256", "simple")
    ],
)
def test_what_opendkim_signs_verifies_here(algorithm, form, tmp_path):
    for name, message in for_opendkim(form):
        field = opendkim.sign(
            tmp_path, message, pem(KEYS[algorithm]), algorithm=algorithm, canonicalization=form
        )
        assert verdict(field + message, algorithm) == ("pass", ""), name
        changed = field + b"From: mallory@example.net\r\n" + message
        assert verdict(changed, algorithm)[0] == "fail", name


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("form", FORMS)
def test_what_we_sign_verifies_with_opendkim(algorithm, form, tmp_path):
    for name, text in for_opendkim(form):
        message = ours(text, algorithm, form) + text
        keys = {NAME: record(KEYS[algorithm])}
        assert opendkim.verify(tmp_path, message, keys) == ["pass"], name
        # A judge that says yes to everything would be none.
        assert opendkim.verify(tmp_path, message.replace(b"Subject: ", b"Subject: No"), keys) == [
            "fail"
        ]


def chain(message):
    resolver = FakeResolver({NAME: {"TXT": record(rsa_key())}})
    return asyncio.run(arc.verify(split(message), resolver, Offloading(), NOW))


def test_chains_go_from_us_to_mailauth_and_back():
    key = SigningKey("example.org", "s1", rsa_key())
    records = {NAME: record(rsa_key())}

    def seal_here(message):
        results = "example.org; dkim=pass header.d=example.org"
        return seal(split(message), chain(message), results, key, NOW) + message

    def seal_there(message, status):
        results = "judge.example; spf=pass smtp.mailfrom=example.org"
        request = mailauth.seal(
            message, "example.org", "s1", pem(rsa_key()), results=results, status=status
        )
        (answer,) = mailauth.ask([request])
        return answer["fields"].encode() + message

    theirs_first = seal_there(MESSAGE, "none")
    ours_second = seal_here(theirs_first)
    theirs_third = seal_there(ours_second, "pass")
    ours_first = seal_here(MESSAGE)
    changed = theirs_third.replace(b"hungry", b"thirsty")
    for message, expected, instances in (
        (theirs_first, "pass", 1),
        (ours_second, "pass", 2),
        (theirs_third, "pass", 3),
        (changed, "fail", 3),
    ):
        found = chain(message)
        assert (found.result.value, found.reason == "", found.instances) == (
            expected, expected == "pass", instances,
        ), found.reason  # fmt: skip
    everything = [MESSAGE, ours_first, ours_second, theirs_third, changed]
    answers = mailauth.ask([mailauth.verify(message, records) for message in everything])
    assert [answer["arc"] for answer in answers] == ["none", "pass", "pass", "pass", "fail"]
