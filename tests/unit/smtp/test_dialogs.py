"""Every dialog, whole and byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kit.dialogs import Dialog, play, read_dialog

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "dialogs"
DIALOGS = [read_dialog(path) for path in sorted(FOLDER.glob("*.smtp"))]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


def test_the_dialogs_are_found() -> None:
    assert len(DIALOGS) >= 40


@pytest.mark.parametrize("dialog", DIALOGS, ids=lambda dialog: dialog.name)
def test_whole(dialog: Dialog) -> None:
    play(dialog, whole)


@pytest.mark.parametrize(
    "dialog", [d for d in DIALOGS if not d.whole_only], ids=lambda dialog: dialog.name
)
def test_byte_by_byte(dialog: Dialog) -> None:
    play(dialog, byte_by_byte)


def test_a_wrong_dialog_fails(tmp_path: Path) -> None:
    """The player is no rubber stamp: each kind of expectation can fail."""
    start = "S: 220\nC: NOOP\n"
    for rest in (
        "S: 500",
        "S~ 250",
        "S* 251",
        "E: violation nul",
        "X: quit",
        "Q:",
        "S: 250\nS: 250",
        "S: 250\nC: NOOP\nS: 250\nC: NOOP",
        "S: 250\nC: NOOP\nX: quit",
        "S: 250\nC: BOGUS\nE: violation nul\nS: 500",
    ):
        path = tmp_path / "wrong.smtp"
        path.write_text(start + rest)
        with pytest.raises(AssertionError, match=r"wrong\.smtp"):
            play(read_dialog(path), whole)
