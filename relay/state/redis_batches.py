"""Commands to a Valkey or Redis: those given in the same turn of the event loop go in one round trip.

A command by itself costs redis-py some 80 us, one of ten that go together 30. So the checks of one
stage, and the sessions that are busy at the same time, share a way. Only a Cluster is asked one by one,
for each command may be another node's. Knows no deadlines, no failures and no meaning of commands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Batches"]

_AT_ONCE: Final = 16
"""Batches under way at a time, each with a connection; what is asked meanwhile waits."""
_TOGETHER: Final = 32
"""How many commands are in a batch at most: the answer to the last is that of the first, too."""


class _Call(NamedTuple):
    words: tuple[Any, ...]
    answer: asyncio.Future[Any]


class Batches:
    """Takes commands and has them answered.

    Args:
        client: redis-py's.
        is_cluster: whether it is that of a Cluster.
    """

    def __init__(self, client: Any, *, is_cluster: bool) -> None:
        self._client = client
        self._is_cluster = is_cluster
        self._largest = 1 if is_cluster else _TOGETHER
        self._discovery = asyncio.Lock()
        self._waiting: deque[_Call] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._is_due = False

    def ask(self, *words: Any) -> asyncio.Future[Any]:
        """Give a command; return what becomes its answer, or redis-py's exception.

        Who does not want it any more cancels it: then it is not sent, or its answer is thrown away.
        """
        loop = asyncio.get_running_loop()
        call = _Call(words, loop.create_future())
        self._waiting.append(call)
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._begin)
        return call.answer

    async def settle(self, seconds: float) -> None:
        """Wait for what is under way, at most so long."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def _begin(self) -> None:
        """Send what waits, as far as there are connections."""
        self._is_due = False
        while self._waiting and len(self._running) < _AT_ONCE:
            batch: list[_Call] = []
            while self._waiting and len(batch) < self._largest:
                call = self._waiting.popleft()
                if not call.answer.done():
                    batch.append(call)
            if batch:
                task = asyncio.create_task(self._send(batch))
                self._running.add(task)
                task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._begin()

    async def _send(self, batch: Sequence[_Call]) -> None:
        try:
            answers = await self._answers(batch)
        except Exception as error:  # noqa: BLE001  each who waits is told, and decides
            answers = [error] * len(batch)
        for call, answer in zip(batch, answers, strict=True):
            if call.answer.done():
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)

    async def _answers(self, batch: Sequence[_Call]) -> Sequence[Any]:
        """Return the answers; an exception in the place of one that the server did not like."""
        if self._is_cluster:
            # redis-py takes no calls while it learns of the nodes.
            async with self._discovery:
                await self._client.initialize()
        if len(batch) == 1:
            return [await self._client.execute_command(*batch[0].words)]
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in batch:
                pipeline.execute_command(*call.words)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers
