"""What rules learn of a chain."""

from __future__ import annotations

import asyncio

import pytest

from relay.checks.arc import Settings, build, chain
from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.arc_sealing import seal
from relay.mailauth.signing import SigningKey
from relay.policy.facts import Stage
from tests.kit.checks import Offloading, ask, case, message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, record, rsa_key
from tests.kit.zones import FakeResolver

WORDS = ("arc.result", "arc.sealer", "arc.trusted", "arc.instances")
DOMAINS = ("lists.example", "xn--bcher-kva.example")
ZONES = {f"s1._domainkey.{domain}": {"TXT": record(rsa_key())} for domain in DOMAINS}


def sealed(message, domain, results="dkim=pass", names=None):
    found = asyncio.run(arc.verify(split(message), FakeResolver(ZONES), Offloading(), NOW))
    key = SigningKey(domain, "s1", rsa_key())
    results = f"{domain}; {results}"
    return seal(split(message), found, results, key, NOW, names=names) + message


ONE = sealed(MESSAGE, DOMAINS[0])
TWO = sealed(ONE, DOMAINS[1])


def facts(message, *trusted, resolver=None):
    shared = tools(resolver or FakeResolver(ZONES), clock=FakeClock(NOW))
    check = build(Settings(trusted_sealers=trusted), shared)
    return tuple(ask(check, message_case(message), Stage.MESSAGE, *WORDS)[word] for word in WORDS)


@pytest.mark.parametrize(
    ("message", "trusted", "expected"),
    [
        (MESSAGE, ["lists.example"], ("none", "", False, 0)),
        (ONE, [], ("pass", "lists.example", False, 1)),
        (ONE, ["Lists.Example"], ("pass", "lists.example", True, 1)),
        (ONE, ["example"], ("pass", "lists.example", False, 1)),
        (TWO, ["lists.example"], ("pass", "bücher.example", False, 2)),
        (TWO, ["bücher.example"], ("pass", "bücher.example", True, 2)),
        (ONE.replace(b"hungry", b"thirsty"), ["lists.example", ""], ("fail", "", False, 1)),
    ],
)
def test_facts_of_a_chain(message, trusted, expected):
    assert facts(message, *trusted) == expected


def test_a_silent_name_server_is_told():
    silent = FakeResolver(ZONES, failing=["s1._domainkey.lists.example"])
    assert facts(ONE, resolver=silent) == ("temperror", "", False, 1)


def test_others_get_the_chain_whole():
    shared = tools(ZONES, clock=FakeClock(NOW))
    build(Settings(), shared)
    found = asyncio.run(chain(message_case(TWO), shared))
    assert [each.authentication_results for each in found.sets] == [
        "lists.example; dkim=pass",
        "xn--bcher-kva.example; dkim=pass",
    ]
    assert asyncio.run(chain(case(), shared)) == arc.NO_CHAIN


@pytest.mark.parametrize(
    ("results", "trusted", "expected"),
    [
        ("dmarc=pass header.from=example.org", "lists.example", "pass"),
        ("dmarc=fail", "lists.example", "fail"),
        ("dkim=pass", "lists.example", ""),
        ("dmarc=pass", "other.example", ""),
    ],
)
def test_the_word_of_a_trusted_sealer(results, trusted, expected):
    message = sealed(MESSAGE, "lists.example", results)
    check = build(Settings(trusted_sealers=(trusted,)), tools(ZONES, clock=FakeClock(NOW)))
    assert ask(check, message_case(message), Stage.MESSAGE, "arc.dmarc") == {"arc.dmarc": expected}


def test_the_word_of_a_sealer_is_about_the_author_it_has_signed():
    """Anybody could put the set on a message with another From, that names who asks for a refusal."""
    message = sealed(MESSAGE, "lists.example", "dmarc=pass", names=(b"to", b"subject"))
    other = message.replace(b"From: Alice <alice@example.org>", b"From: <ceo@bank.example>")
    check = build(Settings(trusted_sealers=("lists.example",)), tools(ZONES, clock=FakeClock(NOW)))
    names = ("arc.result", "arc.trusted", "arc.dmarc")
    for each in (message, other):
        found = ask(check, message_case(each), Stage.MESSAGE, *names)
        assert tuple(found.values()) == ("pass", True, "")


def test_nobody_is_asked_for_the_word_of_nobody():
    resolver = FakeResolver(ZONES)
    check = build(Settings(), tools(resolver, clock=FakeClock(NOW)))
    assert ask(check, message_case(ONE), Stage.MESSAGE, "arc.dmarc") == {"arc.dmarc": ""}
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("message", "asked_for", "expected"),
    [
        (ONE, True, ["arc=pass"]),
        (ONE.replace(b"hungry", b"thirsty"), True, ['arc=fail reason="the body is not what was signed"']),
        (MESSAGE, True, ["arc=none"]),
        (ONE, False, []),
    ],
)  # fmt: skip
def test_what_is_said_of_it_in_authentication_results(message, asked_for, expected):
    check = build(Settings(), tools(ZONES, clock=FakeClock(NOW)))
    about = message_case(message)
    found = ask(check, about, Stage.MESSAGE, "arc.result") if asked_for else {}
    assert [str(each) for each in check.testify(about, found)] == expected
