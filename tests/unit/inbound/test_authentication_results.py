"""What is told of a session's message, and which fields are not believed."""

from __future__ import annotations

import time

import pytest

from relay.inbound.authentication_results import AuthenticationResults
from relay.mail.authentication_results import MethodResult
from relay.mail.headers import split
from tests.kit.checks import case

CLIENT = "tls-client=pass"


class Knowing:
    """Says what it is told to."""

    def __init__(self, *results):
        self.results = results

    def testify(self, _case, facts):
        return [*self.results, *(MethodResult(name, "pass") for name in facts)]


@pytest.mark.parametrize(
    ("witnesses", "facts", "client", "expected"),
    [
        ([], {}, "", ""),
        ([Knowing()], {}, "", ""),
        ([Knowing()], {}, CLIENT, "edge.example;\r\n\ttls-client=pass"),
        ([Knowing(MethodResult("spf", "none"))], {}, "", "edge.example;\r\n\tspf=none"),
        (
            [Knowing(MethodResult("spf", "none")), Knowing()],
            {"x": 1},
            CLIENT,
            "edge.example;\r\n\ttls-client=pass;\r\n\tspf=none;\r\n\tx=pass;\r\n\tx=pass",
        ),
    ],
)
def test_what_is_told(witnesses, facts, client, expected):
    field = AuthenticationResults("edge.example", ["edge.example"], witnesses)
    assert field.value(case(), facts, client) == expected


def test_without_a_name_nothing_is_told_but_forged_ones_are_known():
    field = AuthenticationResults("", ["Edge.Example"], [Knowing(MethodResult("spf", "pass"))])
    assert field.value(case(), {}, CLIENT) == ""
    assert len(field.forged(split(b"Authentication-Results: edge.example; none\r\n\r\n"))) == 1


def test_only_fields_under_our_names_are_forged():
    names = [b"edge.example", b"mx.example.org", b"(x) EDGE.example", b"inner.example", b"<>"]
    lines = [b"Authentication-Results: %b; none\r\n" % name for name in names]
    message = b"Received: edge.example\r\n" + b"".join(lines) + b"\r\nText\r\n"
    block = split(message)
    field = AuthenticationResults("edge.example", ["edge.example", "inner.example"], [])
    kept = b"".join(block.without((), field.forged(block)))
    assert kept == b"Received: edge.example\r\n" + lines[1] + b"\r\nText\r\n"


@pytest.mark.parametrize(
    "name", [b"Authentication-Results ", b"AUTHENTICATION-results\t", b"authentication-Results"]
)
def test_a_name_is_known_in_any_spelling(name):
    block = split(name + b":\r\n edge.example; none\r\n\r\n")
    assert len(AuthenticationResults("", ["edge.example"], []).forged(block)) == 1


def test_very_many_forged_fields_hold_nobody_up():
    """Each was looked for in a list of all: ten thousand took more than a second."""
    message = b"Authentication-Results:;\r\n" * 7_900 + b"\r\n"
    block = split(message)
    field = AuthenticationResults("", ["edge.example"], [])
    begun = time.process_time()
    assert block.without((), field.forged(block)) == [b"\r\n"]
    assert time.process_time() - begun < 0.25


def test_what_comes_after_more_than_anybody_reads_counts_as_forged():
    honest = b"Authentication-Results: mx.example.org; none\r\n"
    block = split(honest + b"Authentication-Results: x;%b\r\n" % (b"()" * 9_000) + honest * 2)
    forged = AuthenticationResults("", ["edge.example"], []).forged(block)
    assert forged == set(block.fields[1:])
