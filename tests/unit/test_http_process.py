"""What the HTTP process does beside answering goes on, whatever happens to it."""

import asyncio

from relay import http_process
from relay.http_process import keep_at


def test_upkeep_that_fails_is_begun_again(monkeypatch):
    monkeypatch.setattr(http_process, "RETRY_SECONDS", 0.001)

    async def play():
        begun = 0
        done = asyncio.Event()

        async def work():
            nonlocal begun
            begun += 1
            if begun < 3:
                raise ValueError("half a line in a file of records")
            done.set()
            await asyncio.Future()

        keeping = asyncio.create_task(keep_at(work))
        await asyncio.wait_for(done.wait(), 10)
        keeping.cancel()

    asyncio.run(play())
