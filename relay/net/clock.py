"""Time and chance from the operating system. Implements `ports.Clock`; decides nothing."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Final

__all__ = ["SystemClock"]

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U


class SystemClock:
    """The real time, and references that nobody can guess (60 bits)."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def reference(self) -> str:
        """A new reference id of 12 characters."""
        return "".join(_ALPHABET[byte & 31] for byte in secrets.token_bytes(12))
