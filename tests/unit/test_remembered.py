"""What is asked again is not worked out again, and no long text fills the memory."""

from __future__ import annotations

import pytest

from relay.remembered import remembered


class Asked:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def length(self, text: str) -> int:
        """Say how long it is."""
        self.texts.append(text)
        if not text:
            raise ValueError(text)
        return len(text)


def test_short_texts_are_worked_out_once_and_long_ones_each_time() -> None:
    asked = Asked()
    length = remembered(10, longest=3)(asked.length)
    assert [length(text) for text in ("abc", "abcd", "abc", "abcd")] == [3, 4, 3, 4]
    assert asked.texts == ["abc", "abcd", "abcd"]


def test_the_oldest_go_first() -> None:
    asked = Asked()
    length = remembered(2, longest=3)(asked.length)
    for text in ("a", "b", "c", "b", "a"):
        length(text)
    assert asked.texts == ["a", "b", "c", "a"]


def test_what_fails_fails_again() -> None:
    asked = Asked()
    length = remembered(2, longest=3)(asked.length)
    for _ in range(2):
        with pytest.raises(ValueError, match="^$"):
            length("")
    assert asked.texts == ["", ""]


def test_it_reads_like_the_function_itself() -> None:
    asked = Asked()
    assert remembered(1, longest=1)(asked.length).__doc__ == "Say how long it is."
