"""What rules learn of signatures."""

from __future__ import annotations

import asyncio

import pytest

from relay.checks import dkim
from relay.checks.dkim import FACTS, Settings, build, verifications
from relay.policy.facts import Stage
from tests.kit.checks import ask, case, message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, ed25519_key, record, rsa_key, short_rsa_key, signed, zone
from tests.kit.zones import FakeResolver

WORDS = tuple(fact.name for fact in FACTS)
ZONES = (
    zone(record(rsa_key()))
    | zone(record(rsa_key(1024)), "old._domainkey.example.org")
    | zone(record(short_rsa_key()), "short._domainkey.example.org")
    | zone(record(ed25519_key()), "ed._domainkey.example.org")
    | zone(record(rsa_key(), "t=y; "), "test._domainkey.example.org")
)
NOTHING = {
    "dkim.result": "none", "dkim.domains": (), "dkim.selectors": (), "dkim.weak_key": False,
    "dkim.partial": False, "dkim.signatures": 0, "dkim.errors": (),
}  # fmt: skip


def facts(message, resolver=None, **settings):
    resolver = resolver or FakeResolver(ZONES)
    check = build(Settings(**settings), tools(resolver, clock=FakeClock(NOW)))
    return ask(check, message_case(message), Stage.MESSAGE, *WORDS)


def told(**facts):
    return NOTHING | {f"dkim.{name}": value for name, value in facts.items()}


PASSING = {"result": "pass", "domains": ("example.org",), "selectors": ("s1",), "signatures": 1}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (MESSAGE, NOTHING),
        (b"no header", NOTHING),
        (signed(), told(**PASSING)),
        (signed(key=ed25519_key(), s="ed"), told(**PASSING | {"selectors": ("ed",)})),
        (
            signed(key=rsa_key(1024), s="old"),
            told(**PASSING | {"selectors": ("old",), "weak_key": True}),
        ),
        (
            signed(key=short_rsa_key(), s="short"),
            told(
                result="permerror",
                weak_key=True,
                signatures=1,
                errors=("example.org: the key has only 768 bits",),
            ),
        ),
        (
            signed(l="10"),
            told(
                result="policy",
                partial=True,
                signatures=1,
                errors=("example.org: l= leaves 47 bytes of the body unsigned",),
            ),
        ),
        (
            signed().replace(b"hungry", b"thirsty"),
            told(
                result="fail",
                signatures=1,
                errors=("example.org: the body is not what was signed",),
            ),
        ),
        (
            signed(s="test").replace(b"hungry", b"thirsty"),
            told(
                result="neutral",
                signatures=1,
                errors=("example.org: the body is not what was signed",),
            ),
        ),
        (
            b"DKIM-Signature: none\r\n" + signed(),
            told(**PASSING | {"signatures": 2, "errors": ("no domain: malformed tag list",)}),
        ),
    ],
    ids=[
        "unsigned", "no header", "rsa", "ed25519", "weak", "short", "partial", "changed",
        "under test", "one of two",
    ],
)  # fmt: skip
def test_facts_of_a_message(message, expected):
    assert facts(message) == expected


def test_a_temporary_error_outweighs_failures_and_not_a_pass():
    silent = FakeResolver(ZONES, failing=["ed._domainkey.example.org"])
    both = signed(signed(), key=ed25519_key(), s="ed")
    assert facts(both, silent)["dkim.result"] == "pass"
    changed = facts(both.replace(b"hungry", b"thirsty"), silent)
    assert changed["dkim.result"] == "temperror"
    assert changed["dkim.errors"] == (
        "example.org: the DNS did not give the key",
        "example.org: the body is not what was signed",
    )


def test_settings_say_what_is_enough():
    assert facts(signed(l="10"), accept_partial=True)["dkim.result"] == "pass"
    assert facts(signed(l="10"), accept_partial=True)["dkim.partial"] is True
    assert (
        facts(signed(key=rsa_key(1024), s="old"), min_key_bits=2048)["dkim.result"] == "permerror"
    )
    many = facts(b"DKIM-Signature: none\r\n" * 8 + signed(), max_signatures=8)
    assert (many["dkim.result"], many["dkim.signatures"]) == ("permerror", 9)


def test_signatures_are_counted_without_the_dns():
    resolver = FakeResolver(ZONES)
    check = build(Settings(), tools(resolver))
    found = ask(check, message_case(signed()), Stage.MESSAGE, "dkim.signatures")
    assert found == {"dkim.signatures": 1}
    assert resolver.asked == []


def test_others_get_the_verdicts_of_a_message_that_is_verified_once():
    resolver = FakeResolver(ZONES)
    shared = tools(resolver, clock=FakeClock(NOW))
    check = build(Settings(), shared)
    message = message_case(signed())

    async def both():
        facts, found = await asyncio.gather(
            check.gather(message, Stage.MESSAGE, frozenset(WORDS)), verifications(message, shared)
        )
        return facts, found, await verifications(message, shared)

    facts, found, again = asyncio.run(both())
    assert facts["dkim.domains"] == ("example.org",)
    assert found is again
    assert [(each.domain, each.result) for each in found] == [("example.org", "pass")]
    assert len(resolver.asked) == 1


def test_before_there_is_a_message_there_is_nothing():
    shared = tools(ZONES)
    check = dkim.build(Settings(), shared)
    assert ask(check, case(), Stage.MESSAGE, *WORDS) == NOTHING
    assert asyncio.run(verifications(case(), shared)) == ()


@pytest.mark.parametrize(
    ("message", "asked_for", "expected"),
    [
        (MESSAGE, "dkim.result", ["dkim=none"]),
        (MESSAGE, "dkim.signatures", []),
        (signed(), "dkim.signatures", []),
        (signed(), "dkim.result", ["dkim=pass header.d=example.org header.s=s1 header.a=rsa-sha256"]),
        (
            signed(signed(), key=ed25519_key(), s="ed", a="ed25519-sha256", l="10"), "dkim.result",
            [
                'dkim=policy reason="l= leaves 47 bytes of the body unsigned" header.d=example.org header.s=ed header.a=ed25519-sha256',
                "dkim=pass header.d=example.org header.s=s1 header.a=rsa-sha256",
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_it_in_authentication_results(message, asked_for, expected):
    check = build(Settings(), tools(FakeResolver(ZONES), clock=FakeClock(NOW)))
    about = message_case(message)
    found = ask(check, about, Stage.MESSAGE, asked_for)
    said = [str(each) for each in check.testify(about, found)]
    assert [text.partition(" header.b=")[0] for text in said] == expected
    for text in said:
        assert text == "dkim=none" or len(text.partition(" header.b=")[2].strip('"')) == 8
