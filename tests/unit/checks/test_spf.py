"""The facts of SPF: about the sender's domain and about the client's name."""

import asyncio
from datetime import timedelta

import pytest
import uvloop

from relay.checks.spf import FACTS, Settings, build, mail_from
from relay.mailauth.spf import SpfResult
from relay.net.name_servers import parse_name_server
from relay.net.resolver import DnsResolver
from relay.policy.check import Tools
from relay.policy.facts import Missing, Stage
from relay.settings.dns import Dns
from tests.kit.checks import Offloading, ask, case, tools
from tests.kit.clock import FakeClock
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.zones import FakeResolver

NAMES = tuple(fact.name for fact in FACTS)
ZONES = {
    "example.org": {"TXT": "v=spf1 ip4:192.0.2.1 -all exp=why.example.org"},
    "why.example.org": {"TXT": "%{i} is not one of ours"},
    "mx.example.org": {"TXT": "v=spf1 ?ip4:192.0.2.1 -all"},
    "xn--bcher-kva.example": {"TXT": "v=spf1 ip4:192.0.2.1 -all"},
    "wrong.example": {"TXT": "v=spf1 wr\x01ng"},
    "broken.example": {},
}


def report(about, resolver=None, names=NAMES, **more):
    resolver = resolver or FakeResolver(ZONES, failing=["broken.example"])
    found = ask(build(Settings(), tools(resolver, **more)), about, Stage.SENDER, *names)
    return {name.removeprefix("spf."): value for name, value in found.items()}


@pytest.mark.parametrize(
    ("peer", "sender", "hello", "expected"),
    [
        ("192.0.2.1", "bob@example.org", "mx.example.org", ("pass", "example.org", "ip4:192.0.2.1")),
        ("192.0.2.2", "bob@example.org", "mx.example.org", ("fail", "example.org", "-all")),
        ("::ffff:192.0.2.1", "bob@Example.ORG", "mx.example.org", ("pass", "example.org", "ip4:192.0.2.1")),
        ("192.0.2.1", "", "mx.example.org", ("neutral", "mx.example.org", "?ip4:192.0.2.1")),
        ("192.0.2.1", "", "MX.Example.Org.", ("neutral", "mx.example.org", "?ip4:192.0.2.1")),
        ("192.0.2.1", "bob@other.example", "mx.example.org", ("none", "other.example", "")),
        ("192.0.2.1", "bob@wrong.example", "mx.example.org", ("permerror", "wrong.example", "")),
        ("192.0.2.1", "bob@broken.example", "mx.example.org", ("temperror", "broken.example", "")),
        ("192.0.2.1", "jürgen@bücher.example", "mx.example.org", ("pass", "bücher.example", "ip4:192.0.2.1")),
        ("192.0.2.1", "bob@xn--bcher-kva.example", "mx.example.org", ("pass", "bücher.example", "ip4:192.0.2.1")),
        ("192.0.2.1", "bob@[192.0.2.1]", "mx.example.org", ("none", "[192.0.2.1]", "")),
        ("192.0.2.1", "bob@\u202e.example", "mx.example.org", ("none", "\u202e.example", "")),
        ("192.0.2.1", "", "[192.0.2.1]", ("none", "[192.0.2.1]", "")),
        ("192.0.2.1", "", "", ("none", "", "")),
        ("/run/gatepost.sock", "bob@example.org", "mx.example.org", ("none", "example.org", "")),
    ],
)  # fmt: skip
def test_what_a_domain_says_of_an_address(peer, sender, hello, expected):
    found = report(case(peer, hello=hello, sender=sender))
    assert (found["result"], found["domain"], found["mechanism"]) == expected


@pytest.mark.parametrize(
    ("hello", "expected"),
    [
        ("mx.example.org", "neutral"),
        ("example.org", "pass"),
        ("broken.example", "temperror"),
        ("localhost", "none"),
        ("[192.0.2.1]", "none"),
        ("", "none"),
    ],
)
def test_the_name_of_the_client_is_judged_by_itself(hello, expected):
    about = case("192.0.2.1", hello=hello, sender="bob@other.example")
    assert report(about, names=("spf.helo_result",)) == {"helo_result": expected}


def test_nothing_is_asked_that_nobody_wants_to_know():
    resolver = FakeResolver(ZONES)
    about = case("192.0.2.2", hello="mx.example.org", sender="bob@example.org")
    report(about, resolver, ("spf.helo_result",))
    assert resolver.asked == [("mx.example.org", "TXT")]
    resolver.asked.clear()
    report(about, resolver, ("spf.result", "spf.domain"))
    assert resolver.asked == [("example.org", "TXT")]


def test_a_fail_comes_with_its_explanation():
    found = report(case("192.0.2.2", sender="bob@example.org"))
    assert found["explanation"] == "192.0.2.2 is not one of ours"


def test_a_local_part_is_what_macros_say():
    zones = {
        "example.org": {"TXT": "v=spf1 exists:%{l}.users.example.org -all"},
        "bob.users.example.org": {"A": "127.0.0.2"},
    }
    assert report(case("192.0.2.1", sender="bob@example.org"), zones)["result"] == "pass"
    assert report(case("192.0.2.1", sender="eve@example.org"), zones)["result"] == "fail"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 500, "x" * 200),
        ("see%_%{l}", "see j?rgen"),
        ("550 5.7.1 {identity.name}", "550 5.7.1 {identity.name}"),
        ("bell\x07\x1b[31m", ""),
        ("a\r\n250 accepted", ""),
    ],
)
def test_what_others_write_is_one_short_line_of_ascii(text, expected):
    zones = ZONES | {"why.example.org": {"TXT": text}}
    found = report(case("192.0.2.2", sender="jürgen@example.org"), zones)
    assert found["explanation"] == expected


def test_what_is_wrong_is_said_for_the_log():
    found = report(case("192.0.2.2", sender="bob@wrong.example"))
    assert "wrong.example" in found["problem"]
    assert found["problem"].isprintable()
    assert report(case("192.0.2.2", sender="bob@example.org"))["problem"] == ""


# --- once a message -------------------------------------------------------------------------------


def test_a_result_is_kept_for_the_next_message_and_for_dmarc():
    resolver, clock = FakeResolver(ZONES), FakeClock()
    hands = tools(resolver, clock=clock)
    check = build(Settings(), hands)
    about = case("192.0.2.1", hello="mx.example.org", sender="bob@example.org")
    ask(check, about, Stage.SENDER, "spf.result")
    finding = asyncio.run(mail_from(about, hands))
    assert (finding.domain, finding.evaluation.result) == ("example.org", SpfResult.PASS)
    assert len(resolver.asked) == 1
    clock.advance(timedelta(seconds=6))
    ask(check, about, Stage.SENDER, "spf.result")
    assert len(resolver.asked) == 2


def test_another_message_is_another_matter():
    resolver = FakeResolver(ZONES)
    check = build(Settings(), tools(resolver))
    for peer, sender in (
        ("192.0.2.1", "bob@example.org"),
        ("192.0.2.2", "bob@example.org"),
        ("192.0.2.1", "bob@other.example"),
    ):
        ask(check, case(peer, sender=sender), Stage.SENDER, "spf.result")
    assert len(resolver.asked) == 3


def test_an_error_that_may_pass_is_not_kept():
    resolver = FakeResolver(ZONES, failing=["example.org"])
    check = build(Settings(), tools(resolver))
    about = case("192.0.2.1", sender="bob@example.org")
    assert ask(check, about, Stage.SENDER, "spf.result") == {"spf.result": "temperror"}
    resolver.failing.clear()
    assert ask(check, about, Stage.SENDER, "spf.result") == {"spf.result": "pass"}


def test_only_so_many_results_are_kept():
    check = build(Settings(), tools(FakeResolver(ZONES)))
    for number in range(1100):
        ask(check, case("192.0.2.1", sender=f"u{number}@example.org"), Stage.SENDER, "spf.result")
    assert len(check._kept) == 1024


# --- a broken world is a temporary error, in bounded time ---------------------------------------------


def test_a_name_server_that_never_answers_is_waited_for_in_bounded_time():
    resolver = FakeResolver(ZONES, hanging=["example.org", "mx.example.org"])
    check = build(Settings(timeout="100ms"), tools(resolver))
    about = case("192.0.2.1", hello="mx.example.org", sender="bob@example.org")
    found = ask(check, about, Stage.SENDER, "spf.result", "spf.helo_result", "spf.problem")
    assert found["spf.result"] == found["spf.helo_result"] == "temperror"
    assert found["spf.problem"] == "no result in time"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ((Fault.SILENT,), "temperror"),
        ((Fault.SERVFAIL,), "temperror"),
        ((Fault.REFUSED,), "temperror"),
        ((Fault.GARBAGE,), "temperror"),
        ((Fault.WRONG_ID, Fault.ALONE), "temperror"),
        ((Fault.WRONG_ID,), "pass"),
        ((Fault.WRONG_NAME,), "pass"),
        ((Fault.TRUNCATED,), "pass"),
        ((Fault.NO_EDNS,), "pass"),
        ((Fault.WRONG_CASE,), "pass"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value,
)
def test_over_a_network_that_fails_or_lies(faults, expected):
    about = case("192.0.2.1", hello="mx.example.org", sender="bob@example.org")

    async def run():
        resolver = DnsResolver(
            Dns(timeout="100ms", attempts=2), [parse_name_server(server.address)]
        )
        check = build(
            Settings(), Tools("edge.example.org", FakeClock(), resolver, None, Offloading())
        )
        found = await check.gather(about, Stage.SENDER, frozenset({"spf.result"}))
        await resolver.close()
        return found["spf.result"]

    with DnsServer(ZONES) as server:
        server.faults[""] = faults
        assert uvloop.run(asyncio.wait_for(run(), 5)) == expected


# --- Authentication-Results ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "facts", "expected"),
    [
        ("bob@example.org", {"spf.result": "pass"}, ["spf=pass smtp.mailfrom=bob@example.org"]),
        ("bob@example.org", {"spf.result": "fail", "spf.helo_result": "none"},
         ["spf=fail smtp.mailfrom=bob@example.org", "spf=none smtp.helo=mx.example.org"]),
        ("", {"spf.result": "neutral"}, ["spf=neutral smtp.helo=mx.example.org"]),
        ("jürgen@bücher.example", {"spf.result": "none"}, ["spf=none smtp.mailfrom=@xn--bcher-kva.example"]),
        ('"a b"@example.org', {"spf.result": "none"}, ['spf=none smtp.mailfrom="\\"a b\\"@example.org"']),
        ("bob@\u202e.example", {"spf.result": "none"}, ['spf=none smtp.mailfrom="bob@?.example"']),
        ("bob@example.org", {"spf.result": Missing("no answer in time")}, []),
        ("bob@example.org", {}, []),
    ],
)  # fmt: skip
def test_what_is_said_of_it_in_authentication_results(sender, facts, expected):
    check = build(Settings(), tools(FakeResolver(ZONES)))
    about = case("192.0.2.1", hello="mx.example.org", sender=sender)
    assert [str(each) for each in check.testify(about, facts)] == expected
