"""Regular expressions of the relay mean the same to every Python that it runs on."""

from __future__ import annotations

import re
from pathlib import Path

RELAY = Path(__file__).resolve().parents[2] / "relay"
POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{\{?[0-9,]+\}?\})\+")


def test_what_is_looked_for() -> None:
    assert POSSESSIVE_GROUP.search(r"(?:a)*+")
    assert POSSESSIVE_GROUP.search(r"(?:a){0,2}+")
    assert POSSESSIVE_GROUP.search(r"(?:a){{0,2}}+")
    assert not POSSESSIVE_GROUP.search(r"(?>(?:a)*)b++")


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 takes half a repetition for a whole one (CPython issue 106052)."""
    found = [path for path in RELAY.rglob("*.py") if POSSESSIVE_GROUP.search(path.read_text())]
    assert found == []
