"""One worker's looking after its live sessions, without a process and without a network."""

import asyncio
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from relay import app


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


def worker(sessions):
    settings = SimpleNamespace(state_dir=Path("state"))
    blueprint = SimpleNamespace(material=SimpleNamespace(settings=settings))
    made = app.Worker(blueprint, {}, None, None)
    made._trust = SimpleNamespace(version=1)
    made._sessions = set(sessions)
    return made


async def for_a_while(made, script):
    keeping = asyncio.create_task(made._keep_trusted())
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            await script()
    finally:
        keeping.cancel()


def test_every_session_is_asked_once_a_change(monkeypatch):
    monkeypatch.setattr(app, "_LOOK_SECONDS", 0)
    sessions = [FakeSession() for _ in range(10)]
    made = worker(sessions)

    async def script():
        for change in range(1, 4):
            made._trust.version += 1
            while sum(each.asked for each in sessions) < 10 * change:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)

    asyncio.run(for_a_while(made, script))
    assert [each.asked for each in sessions] == [3] * 10


def test_what_the_supervisor_does_not_read_yet_waits_whole():
    made = worker([])
    ours, theirs = socket.socketpair()
    messages = [{"event": "want", "filler": "x" * 10_000, "number": n} for n in range(100)]

    async def script():
        _, made._writer = await asyncio.open_connection(sock=theirs)
        for message in messages:
            made._tell(message)  # a hundred times what the socket takes
        reader, writer = await asyncio.open_connection(sock=ours)
        heard = [json.loads(await reader.readline()) for _ in messages]
        for each in (writer, made._writer):
            each.close()
            await each.wait_closed()
        return heard

    async def bounded():
        async with asyncio.timeout(10):
            return await script()

    assert asyncio.run(bounded()) == messages


def test_what_nobody_reads_at_all_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(app, "_MAX_UNHEARD_BYTES", 1000)
    made = worker([])
    written = []
    made._writer = SimpleNamespace(
        transport=SimpleNamespace(get_write_buffer_size=lambda: sum(map(len, written))),
        write=written.append,
    )
    for _ in range(100):
        made._tell({"event": "want", "filler": "x" * 100})
    assert 1000 <= sum(map(len, written)) < 1200


def test_without_a_change_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(app, "_LOOK_SECONDS", 0)
    session = FakeSession()

    async def script():
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(for_a_while(worker([session]), script))
    assert session.asked == 0


def test_many_sessions_leave_the_loop_to_others_in_between():
    made = worker([FakeSession(0.001) for _ in range(200)])
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
    asyncio.run(worker(sessions)._reconsider())
    assert [each.asked for each in sessions] == [1] * 10


@pytest.mark.parametrize(
    "end",
    [
        lambda supervisor: supervisor.close(),  # what we told it lies there unread: a reset
        lambda supervisor: (supervisor.recv(100), supervisor.close()),
        lambda supervisor: supervisor.sendall(b'{"order": "allowlist"}\n'),
        lambda supervisor: supervisor.sendall(b"{\n"),
    ],
    ids=["killed before it read", "gone", "an order that fails", "no order at all"],
)
def test_who_hears_no_orders_any_more_serves_no_more(end):
    made = worker([])
    supervisor, control = socket.socketpair()

    async def script():
        made._stopped = asyncio.Event()
        reader, made._writer = await asyncio.open_connection(sock=control)
        made._tell({"event": "ready"})
        end(supervisor)
        async with asyncio.timeout(10):
            await made._obey(reader, None)
        made._writer.close()

    with supervisor:
        asyncio.run(script())
    assert made._stopped.is_set()


def test_background_work_that_fails_is_told_of_and_begins_again(monkeypatch):
    monkeypatch.setattr(app, "_AGAIN_SECONDS", 0)
    failures = [RuntimeError("broken"), KeyError("broken too"), None]

    async def work():
        if failure := failures.pop(0):
            raise failure

    async def script():
        async with asyncio.timeout(10):
            await app._keep_at(work)

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
        task = asyncio.create_task(app._keep_at(work))
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(script())
    assert begun == [True]
