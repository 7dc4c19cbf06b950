"""What EHLO offers, both ways."""

from __future__ import annotations

import pytest

from relay.smtp.extensions import Extensions, parse_extensions

ALL = Extensions(
    size_bytes=1000,
    eightbitmime=True,
    smtputf8=True,
    dsn=True,
    chunking=True,
    pipelining=True,
    starttls=True,
    enhanced_status_codes=True,
    rcptmax=100,
    mailmax=20,
    rcptdomainmax=1,
    xclient=frozenset({"NAME", "ADDR"}),
    xforward=frozenset({"PROTO"}),
)


def test_the_reply_to_ehlo_names_everything_offered() -> None:
    reply = ALL.hello_reply("mx.example", "EHLO")
    assert reply.code == 250
    assert reply.enhanced == ""
    assert reply.lines == (
        "mx.example",
        "PIPELINING",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "CHUNKING",
        "SIZE 1000",
        "LIMITS RCPTMAX=100 MAILMAX=20 RCPTDOMAINMAX=1",
        "XCLIENT ADDR NAME",
        "XFORWARD PROTO",
    )


def test_the_reply_to_helo_is_the_hostname_alone() -> None:
    assert ALL.hello_reply("mx.example", "HELO").lines == ("mx.example",)


def test_nothing_offered_is_the_hostname_alone() -> None:
    assert Extensions().hello_reply("mx.example", "EHLO").lines == ("mx.example",)


def test_what_is_formatted_is_parsed_back() -> None:
    assert parse_extensions(ALL.hello_reply("mx.example", "EHLO").lines) == ALL


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("size", Extensions(size_bytes=0)),
        ("SIZE 0", Extensions(size_bytes=0)),
        ("Size 12345", Extensions(size_bytes=12345)),
        ("SIZE 10 20", Extensions(size_bytes=10)),
        ("SIZE many", Extensions(size_bytes=0)),
        ("SIZE -5", Extensions(size_bytes=0)),
        ("SIZE " + "9" * 21, Extensions(size_bytes=0)),
        ("SIZE ²", Extensions(size_bytes=0)),
        ("8bitmime", Extensions(eightbitmime=True)),
        ("DSN and more", Extensions(dsn=True)),
        ("AUTH=LOGIN PLAIN", Extensions()),
        ("X-UNKNOWN", Extensions()),
        ("", Extensions()),
        ("   ", Extensions()),
        ("LIMITS rcptmax=5 FUTURE=1 MAILMAX", Extensions(rcptmax=5)),
        ("LIMITS RCPTDOMAINMAX=x", Extensions()),
        ("xclient name addr", Extensions(xclient=frozenset({"NAME", "ADDR"}))),
    ],
)
def test_a_keyword_line(line: str, expected: Extensions) -> None:
    assert parse_extensions(("mx.example", line)) == expected


def test_the_greeting_is_no_keyword() -> None:
    assert parse_extensions(("DSN says hello", "CHUNKING")) == Extensions(chunking=True)
    assert parse_extensions(()) == Extensions()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(None, None, None), (None, 5, 5), (0, None, 0), (0, 5, 5), (7, 5, 5), (0, 0, 0)],
)
def test_of_two_sizes_the_lower_limit_holds(
    one: int | None, other: int | None, both: int | None
) -> None:
    met = Extensions(size_bytes=one).intersected(Extensions(size_bytes=other))
    assert met.size_bytes == both
    assert Extensions(size_bytes=other).intersected(Extensions(size_bytes=one)) == met


def test_only_what_both_offer_is_offered() -> None:
    other = Extensions(dsn=True, rcptmax=50, xclient=frozenset({"NAME", "LOGIN"}), size_bytes=2000)
    assert ALL.intersected(other) == Extensions(
        dsn=True,
        rcptmax=50,
        mailmax=20,
        rcptdomainmax=1,
        xclient=frozenset({"NAME"}),
        size_bytes=1000,
    )
    assert ALL.intersected(ALL) == ALL
