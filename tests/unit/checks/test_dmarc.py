"""The facts of DMARC: made of what SPF and DKIM have found, once a message."""

import pytest

from relay.checks import dkim, dmarc, spf
from relay.policy.facts import Stage
from tests.kit.checks import ask, case, message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, record, rsa_key, signed
from tests.kit.turns import with_turns
from tests.kit.zones import FakeResolver

NAMES = tuple(fact.name for fact in dmarc.FACTS)
ZONES = {
    "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject"},
    "example.org": {"TXT": "v=spf1 ip4:192.0.2.1 -all"},
    "test._domainkey.example.org": {"TXT": record(rsa_key())},
    "test._domainkey.xn--bcher-kva.example": {"TXT": record(rsa_key())},
    "_dmarc.xn--bcher-kva.example": {"TXT": "v=DMARC1; p=quarantine"},
}


def checks(resolver, **more):
    hands = tools(resolver, clock=FakeClock(NOW), **more)
    for module in (spf, dkim):
        module.build(module.Settings(), hands)
    return dmarc.build(dmarc.Settings(timeout="200ms"), hands), hands


def from_peer(message, peer="192.0.2.1", sender="bob@example.org"):
    about = message_case(message)
    sent = case(peer, hello="mx.example.org", sender=sender)
    about.peer, about.hello, about.sender = sent.peer, sent.hello, sent.sender
    return about


def report(about, resolver=None):
    check, _ = checks(resolver or FakeResolver(ZONES))
    found = ask(check, about, Stage.MESSAGE, *NAMES)
    return {name.removeprefix("dmarc."): value for name, value in found.items()}


def signed_by(domain, message=MESSAGE):
    return signed(message, rsa_key(), d=domain, s="test")


@pytest.mark.parametrize(
    ("message", "peer", "sender", "expected"),
    [
        (MESSAGE, "192.0.2.1", "bob@example.org", ("pass", "none", True, False)),
        (MESSAGE, "192.0.2.2", "bob@example.org", ("fail", "reject", False, False)),
        (MESSAGE, "192.0.2.1", "bob@other.example", ("fail", "reject", False, False)),
        (MESSAGE, "192.0.2.1", "", ("fail", "reject", False, False)),  # SPF is of mx.example.org then
        (signed_by("example.org"), "192.0.2.2", "x@other.example", ("pass", "none", False, True)),
        (signed_by("example.org"), "192.0.2.1", "bob@example.org", ("pass", "none", True, True)),
        (signed_by("example.org").replace(b"hungry", b"thirsty"), "192.0.2.2", "", ("fail", "reject", False, False)),
    ],
)  # fmt: skip
def test_a_message(message, peer, sender, expected):
    found = report(from_peer(message, peer, sender))
    assert (
        found["result"], found["disposition"], found["aligned_spf"], found["aligned_dkim"]
    ) == expected  # fmt: skip
    assert (found["policy"], found["domain"], found["problem"]) == ("reject", "example.org", "")


def test_a_domain_is_spelled_as_all_facts_spell_it():
    message = MESSAGE.replace(b"alice@example.org", "alice@Bücher.example".encode())
    found = report(from_peer(message))
    assert (found["domain"], found["disposition"]) == ("bücher.example", "quarantine")
    by_alabel = report(from_peer(signed_by("xn--bcher-kva.example", message)))
    assert by_alabel["aligned_dkim"]


def test_two_from_fields_are_an_error():
    found = report(from_peer(b"From: eve@other.example\r\n" + MESSAGE))
    assert (found["result"], found["disposition"], found["domain"]) == ("permerror", "none", "")


@pytest.mark.parametrize("name", ["example.org", "_dmarc.example.org"])
def test_a_name_server_that_fails_or_hangs_is_a_temporary_error(name):
    for resolver in (FakeResolver(ZONES, failing=[name]), FakeResolver(ZONES, hanging=[name])):
        found = report(from_peer(MESSAGE), resolver)
        assert (found["result"], found["disposition"]) == ("temperror", "none")
        assert found["problem"]


def test_nothing_is_verified_twice():
    resolver = FakeResolver(ZONES)
    check, hands = checks(resolver)
    about = from_peer(signed_by("example.org", MESSAGE + b"text\r\n" * 200_000))

    async def run():
        await dkim.verifications(about, hands)
        await spf.mail_from(about, hands)
        await check.gather(about, Stage.MESSAGE, frozenset(NAMES))
        return dmarc.found_so_far(about, hands)

    found, turns = with_turns(run())
    assert found.verdict.dkim
    assert found.spf.domain == "example.org"
    assert len(found.signatures) == 1
    once = len(about.message) // (64 * 1024)
    assert once <= turns < 2 * once
    assert len(resolver.asked) == len(set(resolver.asked)) == 3


@pytest.mark.parametrize(
    ("message", "peer", "facts", "expected"),
    [
        (
            MESSAGE, "192.0.2.1", {},
            [
                "spf=pass smtp.mailfrom=bob@example.org",
                "dmarc=pass header.from=example.org policy.dmarc=none",
            ],
        ),
        (
            MESSAGE, "192.0.2.2", {"spf.result": "fail"},
            ["dmarc=fail header.from=example.org policy.dmarc=reject"],
        ),
        (
            b"From: a@b.example, c@d.example\r\n\r\n", "192.0.2.1", {"spf.result": "pass"},
            ['dmarc=permerror reason="From names more than one domain"'],
        ),
        (
            b"From: a@b.example\r\n\r\n", "192.0.2.1", {"spf.result": "pass"},
            ["dmarc=none header.from=b.example"],
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_it_in_authentication_results(message, peer, facts, expected):
    check, _ = checks(FakeResolver(ZONES))
    about = from_peer(message, peer)
    assert list(check.testify(about, facts)) == []
    ask(check, about, Stage.MESSAGE, "dmarc.result")
    assert [str(each) for each in check.testify(about, facts)] == expected
