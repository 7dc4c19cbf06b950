"""One thing that `gatepost check` has found: how bad it is, where it is, what it is, and what helps.

Finds nothing itself: the files `*_findings.py` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from relay.pki.posture import Flaw

__all__ = ["SIGNS", "Finding", "Level", "finding_of"]

Level = Literal["ok", "warning", "error"]

SIGNS: dict[Level, str] = {"ok": "ok      ", "warning": "warning ", "error": "error   "}
"""What a line for people begins with."""


class Finding(NamedTuple):
    """One thing found. `place` is "file:line", a host, or "" for the machine as a whole."""

    level: Level
    place: str
    problem: str
    remedy: str = ""


def finding_of(flaw: Flaw, place: str = "") -> Finding:
    """Make the finding for a flaw of a certificate, an identity or a list."""
    from relay.pki.posture import Kind

    level: Level = "error" if flaw.kind is Kind.EXPIRED else "warning"
    return Finding(level, place, flaw.problem, flaw.remedy)
