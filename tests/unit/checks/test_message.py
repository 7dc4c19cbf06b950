"""What is said of the form of a message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.checks.message import FACTS, Settings, build
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import ask, message_case, tools
from tests.kit.clock import FakeClock

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NAMES = tuple(fact.name.removeprefix("message.") for fact in FACTS)
SOUND = {
    "Received": "from a by b; Sat, 21 Nov 2026 11:59:58 +0000",
    "From": "Alice <alice@Example.org>",
    "To": "bob@example.net",
    "Date": "Sat, 21 Nov 2026 11:59:30 +0000",
    "Message-ID": "<1@example.org>",
    "Subject": "Hello",
}


def header(*more, **changed):
    """A sound header; a field of the value None is left out, `more` are raw lines behind it."""
    fields = SOUND | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}".encode() for name, value in fields.items() if value is not None]
    return b"".join(line + b"\r\n" for line in (*lines, *more))


def facts(message, *names):
    check = build(Settings(), tools(clock=FakeClock(NOW)))
    found = ask(
        check, message_case(message), Stage.MESSAGE, *(f"message.{name}" for name in names or NAMES)
    )
    return {name.removeprefix("message."): value for name, value in found.items()}


def fact(message, name):
    return facts(message, name)[name]


def test_a_sound_message_has_nothing_to_be_said_against_it():
    message = header() + b"\r\nHello\r\n"
    assert facts(message) == {
        "size_bytes": len(message),
        "header_bytes": len(message) - len(b"\r\nHello\r\n"),
        "header_fields": 6,
        "received_count": 1,
        "missing": (),
        "duplicate": (),
        "header_defects": (),
        "has_8bit_header": False,
        "author_count": 1,
        "author_domains": ("example.org",),
        "date_valid": True,
        "date_skew": -30,
        "overlong_line": 0,
        "has_nul": False,
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"From": None}, ("from",)),
        ({"Date": None}, ("date",)),
        ({"Message_ID": None}, ("message-id",)),
        ({"From": None, "Date": None, "Message_ID": None}, ("from", "date", "message-id")),
        ({"To": None, "Subject": None}, ()),
        ({"From": ""}, ()),
    ],
)
def test_missing_fields(changed, expected):
    assert fact(header(**changed) + b"\r\n", "missing") == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (b"From: eve@example.com", ("from",)),
        (b"FROM : eve@example.com", ("from",)),
        (b"subject: again\r\nSubject: and again", ("subject",)),
        (b"Content-Type: text/plain\r\nContent-Type: text/html", ("content-type",)),
        (b"Received: from b by c", ()),
        (b"Comments: one\r\nComments: two", ()),
        (b"DKIM-Signature: a\r\nDKIM-Signature: b", ()),
    ],
)
def test_fields_that_may_stand_once(more, expected):
    assert fact(header(more) + b"\r\n", "duplicate") == expected


def test_a_field_in_the_body_is_no_field():
    message = header() + b"\r\nFrom: eve@example.com\r\nDate: never\r\n"
    assert fact(message, "duplicate") == ()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", ()),
        (b"Only a text\r\n", ("no_header",)),
        (b"\r\nOnly a body\r\n", ("no_header",)),
        (header(b"no field at all") + b"\r\n", ("stray_line",)),
        (header(b"no field at all", b" and more: of it") + b"\r\n", ("stray_line",)),
        (header(b"From", b" : eve@evil.example") + b"\r\n", ("stray_line",)),
        (header(b"Sender : eve@example.com") + b"\r\n", ("blank_before_colon",)),
        (header(b"Sender\t: eve@example.com") + b"\r\n", ("blank_before_colon",)),
        (header(b"X-Text: a : b") + b"\r\n", ()),
        (header(b"X-Text: a\r\n b : c") + b"\r\n", ()),
        (header(b"X-Text: a\r\n \r\n b") + b"\r\n", ("blank_line",)),
        (header(b"X-Text: a\r\n\t ") + b"\r\n", ("blank_line",)),
        (header(b"X-Text: a\r\n b\r\n\tc") + b"\r\n", ()),
        (header(b"X-Text: \x1b[31m") + b"\r\n", ("control_character",)),
        (header(b"X-Text: \xff\xfe") + b"\r\n", ()),
        (header(b"stray", b"X : \x01") + b"\r\n",
         ("stray_line", "blank_before_colon", "control_character")),
        (header() + b"\r\n\x01 : \r\n \r\n", ()),
    ],
)  # fmt: skip
def test_header_defects(message, expected):
    assert fact(message, "header_defects") == expected


@pytest.mark.parametrize(
    ("author", "count", "domains"),
    [
        ("alice@example.org", 1, ("example.org",)),
        ("a@x.example, B <b@Y.example>, c@x.example", 3, ("x.example", "y.example")),
        ("undisclosed:;", 0, ()),
        ("alice", 0, ()),
        (None, 0, ()),
        ("eve@evil.example <alice@example.org>", 2, ("evil.example", "example.org")),
    ],
)
def test_authors(author, count, domains):
    message = header(From=author) + b"\r\n"
    assert facts(message, "author_count", "author_domains") == {
        "author_count": count,
        "author_domains": domains,
    }


@pytest.mark.parametrize(
    ("date", "valid", "skew"),
    [
        ("Sat, 21 Nov 2026 12:00:00 +0000", True, 0),
        ("Sat, 21 Nov 2026 13:00:00 +0200", True, -3600),
        ("Sun, 22 Nov 2026 12:00:00 +0000", True, 86400),
        ("Thu, 01 Jan 1970 00:00:00 +0000", True, -int(NOW.timestamp())),
        ("soon", False, 0),
        ("", False, 0),
        (None, False, 0),
    ],
)
def test_the_date(date, valid, skew):
    found = facts(header(Date=date) + b"\r\n", "date_valid", "date_skew")
    assert found == {"date_valid": valid, "date_skew": skew}


def test_of_two_dates_none_counts():
    message = header(b"Date: Sun, 22 Nov 2026 12:00:00 +0000") + b"\r\n"
    assert facts(message, "date_valid", "date_skew") == {"date_valid": False, "date_skew": 0}


def test_bytes_in_the_header_and_in_the_body():
    assert fact(header(Subject="Grüße") + b"\r\n", "has_8bit_header") is True
    assert fact(header() + "\r\nGrüße\r\n".encode(), "has_8bit_header") is False
    assert fact(header() + b"\r\na\0b\r\n", "has_nul") is True


def test_hops_are_counted():
    assert fact(header(*[b"Received: from x by y"] * 60) + b"\r\n", "received_count") == 61


@given(st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_the_longest_line_is_measured_if_it_is_too_long(sizes, is_ended):
    message = b"\r\n".join(b"x" * size for size in sizes) + b"\r\n" * is_ended
    longest = max(sizes, default=0)
    assert fact(message, "overlong_line") == (longest if longest > 998 else 0)


def test_a_message_without_its_header_found_is_split():
    made = message_case(header() + b"\r\n")
    made = Case(made.peer, made.listener, message=made.message)
    check = build(Settings(), tools())
    assert ask(check, made, Stage.MESSAGE, "message.header_fields") == {"message.header_fields": 6}
