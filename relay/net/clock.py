"""Time and chance from the operating system. Implements `ports.Clock`; decides nothing."""

from __future__ import annotations

import time
from base64 import b32encode
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Final

__all__ = ["SystemClock"]

# From base64's alphabet of 32 to Crockford's, which has no look-alikes: no I, L, O, U.
_CROCKFORD: Final = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)


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
        return b32encode(token_bytes(10)).translate(_CROCKFORD)[:12].decode()
