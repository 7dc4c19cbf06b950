"""How far back: a duration or a date, whatever was meant by it is a moment or a mistake."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.cli.since_option import moment
from relay.errors import ConfigurationError


def test_a_duration_counts_from_now():
    assert abs(moment("7d") - (datetime.now(UTC) - timedelta(days=7))) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30:00+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("9999999d", datetime.min.replace(tzinfo=UTC)),  # before there were years
    ],
)
def test_a_moment(text, found):
    assert moment(text) == found


@pytest.mark.parametrize("text", ["", "yesterday", "7", "2026-13-01"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigurationError, match="write 7d, 12h or 2026-01-31"):
        moment(text)
