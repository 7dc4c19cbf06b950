"""What the next hops have said about recipients: remembered, and asked only once at a time.

A bounded memory of one worker. It must not know how a question is asked.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from datetime import timedelta

    from relay.ports import Clock
    from relay.smtp.replies import Reply

__all__ = ["Recipients"]

_CAPACITY = 10_000
_REFUSAL_SECONDS = 60.0
"""A refusal is remembered this long at most: a new mailbox should not wait for it."""

_SURPRISE_SECONDS = 3600.0
"""How long a refusal at delivery waits for the sender to come again, which takes minutes."""


class _Memory(NamedTuple):
    reply: Reply
    until: float
    is_surprise: bool = False


class Recipients:
    """Answers by question; `key` is whatever the answer may depend on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._memories: OrderedDict[Hashable, _Memory] = OrderedDict()
        self._questions: dict[Hashable, asyncio.Task[Reply]] = {}

    def recall(self, key: Hashable) -> Reply | None:
        """Return the remembered answer, None if the next hop must be asked.

        The refusal of a `surprise` is told once: by then the sender knows which recipient it was
        and sends to the others without it, and to it alone it may try again.
        """
        memory = self._memories.get(key)
        if memory is None:
            return None
        is_over = memory.until <= self._clock.monotonic()
        if memory.is_surprise or is_over:
            del self._memories[key]
        else:
            self._memories.move_to_end(key)
        return None if is_over else memory.reply

    async def ask(
        self, key: Hashable, question: Callable[[], Awaitable[Reply]], keep: timedelta
    ) -> Reply:
        """Ask, unless the same question is under way already: then share its answer.

        A yes is kept for `keep`, a 5xx for a minute at most, a 4xx not at all. An asker that is
        cancelled does not take the answer away from the others.
        """
        task = self._questions.get(key)
        if task is None:
            task = asyncio.ensure_future(self._answer(key, question, keep.total_seconds()))
            self._questions[key] = task
            task.add_done_callback(lambda _: self._questions.pop(key, None))
        return await asyncio.shield(task)

    def surprise(self, key: Hashable, reply: Reply) -> None:
        """Note a recipient that was refused at delivery, after a yes to the question before."""
        self._remember(key, _Memory(reply, self._clock.monotonic() + _SURPRISE_SECONDS, True))  # noqa: FBT003

    async def close(self) -> None:
        """Call off the questions under way."""
        tasks = list(self._questions.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _answer(
        self, key: Hashable, question: Callable[[], Awaitable[Reply]], keep: float
    ) -> Reply:
        reply = await question()
        if not reply.is_transient:
            seconds = keep if reply.is_positive else min(keep, _REFUSAL_SECONDS)
            self._remember(key, _Memory(reply, self._clock.monotonic() + seconds))
        return reply

    def _remember(self, key: Hashable, memory: _Memory) -> None:
        self._memories[key] = memory
        self._memories.move_to_end(key)
        if len(self._memories) > _CAPACITY:
            self._memories.popitem(last=False)
