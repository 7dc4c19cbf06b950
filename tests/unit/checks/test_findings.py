"""A finding is found once a message, whoever asks and whoever gives up."""

from __future__ import annotations

import asyncio
import gc

import pytest

from relay.checks.findings import Finding
from relay.mail.headers import split

MESSAGE = b"From: alice@example.org\r\n\r\nHi.\r\n"


class Searching:
    """Finds the number of times that it was asked, once it may."""

    def __init__(self, *, is_open=True):
        self.times = 0
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def __call__(self, _header):
        self.times += 1
        times = self.times
        await self.gate.wait()
        return times


def test_it_is_found_once_a_message():
    async def check():
        finding = Finding(Searching())
        first, second = split(MESSAGE), split(MESSAGE)
        together = await asyncio.gather(*(finding.of(first) for _ in range(3)))
        assert together == [1, 1, 1]
        assert [await finding.of(first), await finding.of(second), await finding.of(first)] == [
            1,
            2,
            1,
        ]

    asyncio.run(check())


def test_who_gives_up_ends_it_for_nobody_else():
    async def check():
        searching = Searching(is_open=False)
        finding, header = Finding(searching), split(MESSAGE)
        impatient = asyncio.create_task(finding.of(header))
        patient = asyncio.create_task(finding.of(header))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        searching.gate.set()
        assert await patient == 1

    asyncio.run(check())


def test_nothing_is_kept_of_a_message_that_is_gone():
    async def check():
        finding, header = Finding(Searching()), split(MESSAGE)
        await finding.of(header)
        assert len(finding._found) == 1
        del header
        gc.collect()
        assert len(finding._found) == 0

    asyncio.run(check())


def test_what_is_found_already_can_be_looked_at():
    async def check():
        searching = Searching(is_open=False)
        finding, header = Finding(searching), split(MESSAGE)
        assert finding.so_far(header) is None
        asking = asyncio.create_task(finding.of(header))
        await asyncio.sleep(0)
        assert finding.so_far(header) is None
        searching.gate.set()
        await asking
        assert finding.so_far(header) == 1

    asyncio.run(check())


def test_what_could_not_be_found_is_not_there():
    async def fail(_header):
        raise OSError

    async def check():
        finding, header = Finding(fail), split(MESSAGE)
        with pytest.raises(OSError):  # noqa: PT011  the search's own
            await finding.of(header)
        assert finding.so_far(header) is None

    asyncio.run(check())


def test_the_search_gets_what_it_needs_besides():
    async def find(_header, peer):
        return peer

    async def check():
        finding, header = Finding(find), split(MESSAGE)
        return [await finding.of(header, "a"), await finding.of(header, "b")]

    assert asyncio.run(check()) == ["a", "a"]
