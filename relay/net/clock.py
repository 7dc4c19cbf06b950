"""Time and chance from the operating system. Implements `ports.Clock`; decides nothing."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Final

__all__ = ["SystemClock"]

# Crockford's alphabet has no look-alikes: no I, L, O, U. Each stands for eight of the 256 bytes.
_CROCKFORD: Final = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ" * 8


class SystemClock:
    """The real time, and references that nobody can guess (60 bits)."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds that never go back."""

    def reference(self) -> str:
        """A new reference id of 12 characters."""
        return os.urandom(12).translate(_CROCKFORD).decode()
