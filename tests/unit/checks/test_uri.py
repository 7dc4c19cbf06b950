"""What is said of the links in a message (finding and asking have tests of their own)."""

from __future__ import annotations

import pytest

from relay.checks.uri import FACTS, Settings, build
from relay.policy.facts import Stage
from tests.kit.checks import Offloading, ask, message_case, tools
from tests.kit.zones import FakeResolver

NAMES = tuple(fact.name.removeprefix("uri.") for fact in FACTS)
ZONES = {
    "test.names.example": {"A": "127.0.0.2"},
    "evil.example.names.example": {"A": "127.0.1.2"},
    "bad.blogs.example.names.example": {"A": "127.0.1.2"},
    "2.0.0.127.ip.example": {"A": "127.0.0.2"},
    "99.2.0.192.ip.example": {"A": "127.0.0.2"},
}
LISTS = [
    {"zone": "names.example", "weight": 3},
    {"zone": "ip.example", "about": "address", "weight": 2},
]


def message(text):
    return b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n" + text.encode()


def facts(text, *names, resolver=None, offload=None, **settings):
    check = build(
        Settings(**{"list": LISTS, **settings}), tools(resolver or ZONES, offload=offload)
    )
    found = ask(
        check,
        message_case(message(text)),
        Stage.MESSAGE,
        *(f"uri.{name}" for name in names or NAMES),
    )
    return {name.removeprefix("uri."): value for name, value in found.items()}


def test_places_that_lists_know():
    text = (
        '<a href="https://x.evil.example/">www.bank.com</a> http://192.0.2.99/ http://ok.example/'
    )
    assert facts(text) == {
        "domains": ("evil.example", "bank.com", "ok.example"),
        "addresses": ("192.0.2.99",),
        "mismatch": True,
        "listed": True,
        "score": 5.0,
        "lists": ("names.example", "ip.example"),
        "unanswered": (),
    }


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("no link", 0.0),
        ("http://ok.example/", 0.0),
        ("http://evil.example/ http://www.evil.example/", 3.0),
        ("http://deep.bad.blogs.example/", 3.0),
        ("http://good.blogs.example/", 0.0),
        ("http://192.0.2.98/", 0.0),
    ],
)
def test_scores(text, score):
    assert facts(text, "score", "listed") == {"score": score, "listed": score > 0}


def test_lists_are_asked_only_if_a_rule_wants_to_know():
    resolver = FakeResolver(ZONES)
    facts("http://evil.example/", "domains", "mismatch", "addresses", resolver=resolver)
    assert resolver.asked == []


def test_without_lists_nobody_is_asked():
    resolver = FakeResolver(ZONES)
    assert facts("http://evil.example/", "listed", resolver=resolver, list=[]) == {"listed": False}
    assert resolver.asked == []


def test_ignored_domains_are_reported_and_not_asked():
    resolver = FakeResolver(ZONES)
    found = facts(
        "http://www.evil.example/", "domains", "score", resolver=resolver, ignore=["evil.example"]
    )
    assert found == {"domains": ("evil.example",), "score": 0.0}
    assert resolver.asked == []


def test_so_many_domains_are_asked_and_no_more():
    resolver = FakeResolver(ZONES)
    text = " ".join(f"http://n{number}.example/" for number in range(100))
    facts(text, "score", resolver=resolver, max_domains=10)
    asked = [name for name, _ in resolver.asked if name.startswith("n")]
    assert len(asked) == 10


def test_a_list_that_fails_is_named():
    resolver = FakeResolver(ZONES, failing=["evil.example.names.example"])
    found = facts("http://evil.example/", "score", "unanswered", resolver=resolver)
    assert found == {"score": 0.0, "unanswered": ("names.example: silent",)}


@pytest.mark.parametrize(("size", "times"), [(100, 0), (7 * 1024, 0), (8 * 1024, 1)])
def test_a_large_text_leaves_the_event_loop(size, times):
    offload = Offloading()
    facts("x" * size, "domains", offload=offload)
    assert offload.times == times


def test_without_lists_the_text_is_not_even_read():
    check = build(Settings(), tools())
    case = message_case(message("http://evil.example/"))
    assert ask(check, case, Stage.MESSAGE, "uri.score") == {"uri.score": 0.0}
    assert case.header.structure is None
