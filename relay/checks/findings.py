"""What a check finds out about a message and others need whole: found out once, whoever asks first.

A check that has one leaves it in `Tools.findings` under its name when it is built; who needs it looks it
up when a message is there, by the function beside it (`checks.dkim.verifications`). It knows nothing of
what is found out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from relay.mail.headers import HeaderBlock

__all__ = ["Finding"]

_T = TypeVar("_T")


class Finding(Generic[_T]):
    """Answers for each message with what `find` says of it, asked for once."""

    def __init__(self, find: Callable[..., Coroutine[Any, Any, _T]]) -> None:
        self._find = find
        self._found: WeakKeyDictionary[HeaderBlock, asyncio.Task[_T]] = WeakKeyDictionary()

    async def of(self, header: HeaderBlock, *context: object) -> _T:
        """Return what is found out about the message; who gives up waiting ends it for nobody else.

        Args:
            header: the message's.
            context: what `find` needs besides; it is asked with the first one's.
        """
        task = self._found.get(header)
        if task is None:
            task = self._found[header] = asyncio.create_task(self._find(header, *context))
        return task.result() if task.done() else await asyncio.shield(task)

    def so_far(self, header: HeaderBlock) -> _T | None:
        """Return what has been found out already; None if nobody asked, or there is no answer yet."""
        task = self._found.get(header)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()
