"""Work beside sessions: what fails is told of and begins again; what was counted is handed over to the last."""

import asyncio
from types import SimpleNamespace

from structlog.testing import capture_logs

from relay import background


def test_background_work_that_fails_is_told_of_and_begins_again():
    failures = [RuntimeError("broken"), KeyError("broken too"), None]

    async def work():
        if failure := failures.pop(0):
            raise failure

    async def script():
        async with asyncio.timeout(10):
            await background.keep_at(work, 0)

    with capture_logs() as logged:
        asyncio.run(script())
    assert failures == []
    assert [(each["log_level"], each["exc_info"]) for each in logged] == [("error", True)] * 2


def test_background_work_ends_when_it_is_cancelled():
    begun = []

    async def work():
        begun.append(True)
        await asyncio.Event().wait()

    async def script():
        task = asyncio.create_task(background.keep_at(work))
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(script())
    assert begun == [True]


def test_what_is_counted_until_the_end_is_handed_over(monkeypatch):
    monkeypatch.setattr(background, "_COUNT_SECONDS", 0)
    counted, told = [["first"], [], ["last"]], []
    counting = SimpleNamespace(take=lambda: counted.pop(0))

    async def script():
        task = asyncio.create_task(background.hand_over(counting, told.append))
        while len(counted) > 1:
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])

    asyncio.run(script())
    assert told == [["first"], ["last"]]
