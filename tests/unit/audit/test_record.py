"""The audit record's vocabulary is whole, and its manual shows all of it."""

from __future__ import annotations

import re

from relay.audit.record import FIELDS, Kind, manual
from relay.model import TrustStatus


def test_names_are_plain_words() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in FIELDS)


def test_the_manual_has_every_kind_and_field_with_its_meaning() -> None:
    text = manual()
    for word in (*Kind, *FIELDS):
        assert f"| `{word}` |" in text
    assert not re.search(r"\|[ \t]*\|", text)


def test_every_trust_status_is_explained() -> None:
    assert all(f"`{status}`" in FIELDS["status"] for status in TrustStatus)
