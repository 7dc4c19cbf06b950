"""Answers that are remembered, for texts that come again and again and may be anybody's.

A cache by number of entries alone could be filled with long ones: those are worked out each time. It
knows nothing of what is asked.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["remembered"]

_Text = TypeVar("_Text", str, bytes)
_T = TypeVar("_T")


def remembered(
    entries: int, *, longest: int
) -> Callable[[Callable[[_Text], _T]], Callable[[_Text], _T]]:
    """Have a function of one text remember its last answers.

    Args:
        entries: how many.
        longest: a longer text is not kept; characters or bytes.
    """

    def decorate(work_out: Callable[[_Text], _T]) -> Callable[[_Text], _T]:
        recall = lru_cache(maxsize=entries)(work_out)

        @wraps(work_out)
        def answer(text: _Text) -> _T:
            return recall(text) if len(text) <= longest else work_out(text)

        return answer

    return decorate
