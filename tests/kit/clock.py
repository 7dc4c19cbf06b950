"""A clock that stands until the test moves it (`ports.Clock`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]


class FakeClock:
    """Starts at `now`; references count up: R00000000001, R00000000002..."""

    def __init__(self, now: datetime | None = None) -> None:
        self._start = now or datetime.now(UTC)
        self._elapsed = 0.0
        self._references = 0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def reference(self) -> str:
        self._references += 1
        return f"R{self._references:011d}"

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._elapsed += by.total_seconds()
