"""Dates of header fields against the examples of RFC 5322 and against the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.dates import parse_date

utc = partial(datetime, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fri, 21 Nov 1997 09:55:06 -0600", utc(1997, 11, 21, 15, 55, 6)),  # appendix A
        ("Tue, 1 Jul 2003 10:52:37 +0200", utc(2003, 7, 1, 8, 52, 37)),
        ("Thu, 13 Feb 1969 23:32 -0330 (Newfoundland Time)", utc(1969, 2, 14, 3, 2)),
        ("21 Nov 97 09:55:06 GMT", utc(1997, 11, 21, 9, 55, 6)),
        ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", utc(1997, 11, 21, 15, 55, 6)),
        ("1 jan 49 00:00 z", utc(2049, 1, 1)),
        ("1 Jan 50 00:00 A", utc(1950, 1, 1)),
        ("1 Jan 103 00:00 UT", utc(2003, 1, 1)),
        ("Sat, 31 Dec 2016 23:59:60 +0000", utc(2017, 1, 1)),
        ("Mon, 1 Jan 2024 12:00:00 EST", utc(2024, 1, 1, 17)),
        ("Mon, 1 Jan 2024 12:00:00", utc(2024, 1, 1, 12)),
        ("29 Feb 2024 00:00:00 -0000", utc(2024, 2, 29)),
    ],
)
def test_what_can_be_read(text, expected):
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Fri, 21 Nov 1997",
        "32 Jan 2024 00:00:00 +0000",
        "30 Feb 2024 00:00:00 +0000",
        "1 Jan 2024 24:00:00 +0000",
        "1 Jan 2024 00:60:00 +0000",
        "1 Foo 2024 00:00:00 +0000",
        "1 Jan 2024 00:00:00 +0060",
        "1 Jan 2024 00:00:00 J",
        "1 Jan 2024 00:00:00 MOON",
        "1 Jan 0000 00:00:00 +0000",
        "1 Jan 0001 00:00:00 +2359",
        "31 Dec 9999 23:59:60 -2359",
        "\u0661 Jan 2024 00:00:00 +0000",
        "2024-01-01T00:00:00Z",
        "1 Jan 2024 00:00:00 +0000 trailing",
        "((nested)) 1 Jan 2024 00:00:00 +0000",
        "1 Jan 2024 00:00:00 +0000" + " " * 300,
    ],
)
def test_what_cannot_be_read(text):
    assert parse_date(text) is None


@given(
    st.datetimes(utc(1900, 1, 2).replace(tzinfo=None), utc(9998, 12, 30).replace(tzinfo=None)),
    st.integers(min_value=-23 * 60, max_value=23 * 60),
)
def test_it_reads_what_the_standard_library_writes(moment, minutes):
    written = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_date(format_datetime(written)) == written
