"""Live sessions are looked at again when trust has changed, without a process and without a network."""

import asyncio
import time
from types import SimpleNamespace

from relay import reception
from relay.reception import Reception


class FakeSession:
    """Takes its time, and counts how often it was asked."""

    reference = "REF"

    def __init__(self, seconds=0.0, error=None):
        self.asked = 0
        self._error = error
        self._seconds = seconds

    def reconsider(self):
        self.asked += 1
        if self._error is not None:
            raise self._error
        end = time.perf_counter() + self._seconds
        while time.perf_counter() < end:
            pass


def receiving(sessions):
    made = Reception(None, {}, None, None)
    made._sessions = set(sessions)
    return made


async def for_a_while(made, trust, script):
    keeping = asyncio.create_task(made.keep_trusted(trust))
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            await script()
    finally:
        keeping.cancel()


def test_every_session_is_asked_once_a_change(monkeypatch):
    monkeypatch.setattr(reception, "_LOOK_SECONDS", 0)
    sessions = [FakeSession() for _ in range(10)]
    made, trust = receiving(sessions), SimpleNamespace(version=1)

    async def script():
        for change in range(1, 4):
            trust.version += 1
            while sum(each.asked for each in sessions) < 10 * change:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)

    asyncio.run(for_a_while(made, trust, script))
    assert [each.asked for each in sessions] == [3] * 10


def test_without_a_change_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(reception, "_LOOK_SECONDS", 0)
    session = FakeSession()

    async def script():
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(for_a_while(receiving([session]), SimpleNamespace(version=1), script))
    assert session.asked == 0


def test_many_sessions_leave_the_loop_to_others_in_between():
    made = receiving([FakeSession(0.001) for _ in range(200)])
    turns = []

    async def others():
        while True:
            turns.append(sum(each.asked for each in made._sessions))
            await asyncio.sleep(0)

    async def script():
        task = asyncio.create_task(others())
        await made._reconsider()
        task.cancel()

    asyncio.run(script())
    steps = [after - before for before, after in zip(turns, turns[1:], strict=False)]
    assert max(steps) <= 5  # milliseconds, as each session takes one


def test_one_that_fails_does_not_keep_the_others_from_being_asked():
    sessions = [FakeSession(error=RuntimeError("broken")), *(FakeSession() for _ in range(9))]
    asyncio.run(receiving(sessions)._reconsider())
    assert [each.asked for each in sessions] == [1] * 10
