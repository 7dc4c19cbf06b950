from __future__ import annotations

from datetime import UTC, datetime, timedelta

from relay.net.clock import SystemClock


def test_now_is_in_utc() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_monotonic_never_goes_back() -> None:
    readings = [SystemClock().monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_references_are_short_readable_and_all_different() -> None:
    references = {SystemClock().reference() for _ in range(2000)}
    assert len(references) == 2000
    letters = {letter for reference in references for letter in reference}
    assert letters == set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert {len(reference) for reference in references} == {12}
