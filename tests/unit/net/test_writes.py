from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from relay.net.writes import Writes


class Sender:
    """Counts in which turn of the loop it was flushed."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.flushed: list[int] = []

    def flush(self) -> None:
        self.flushed.append(self.turns.past)


class Turns:
    """The turns of the running loop so far."""

    def __init__(self) -> None:
        self.past = 0

    async def pass_by(self, number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
            self.past += 1


async def with_company(turns: Turns) -> Writes:
    """Writes of a busy loop: two senders were there a moment ago."""
    writes = Writes()
    for _ in range(2):
        writes.add(Sender(turns))
    await turns.pass_by(3)
    return writes


def test_who_is_alone_is_not_held_back() -> None:
    async def send() -> None:
        turns = Turns()
        writes, sender = Writes(), Sender(turns)
        for _ in range(5):
            writes.add(sender)
            await turns.pass_by(3)
        assert sender.flushed == [0, 3, 6, 9, 12]

    asyncio.run(send())


def test_who_has_company_waits_two_turns_for_it() -> None:
    async def send() -> None:
        turns = Turns()
        writes = await with_company(turns)
        start = turns.past
        first, second, third = (Sender(turns) for _ in range(3))
        writes.add(first)
        writes.add(second)
        await turns.pass_by(1)
        writes.add(third)
        await turns.pass_by(3)
        assert first.flushed == second.flushed == third.flushed == [start + 1]

    asyncio.run(send())


def test_without_company_for_two_turns_nobody_waits_any_more() -> None:
    async def send() -> None:
        turns = Turns()
        writes = await with_company(turns)
        lonely = Sender(turns)
        writes.add(lonely)
        assert lonely.flushed == []
        await turns.pass_by(3)
        assert len(lonely.flushed) == 1
        writes.add(lonely)
        assert len(lonely.flushed) == 2

    asyncio.run(send())


def test_nobody_waits_for_a_second_turn_after_a_long_one() -> None:
    async def send() -> None:
        turns = Turns()
        writes = await with_company(turns)
        start = turns.past
        held = Sender(turns)
        writes.add(held)
        time.sleep(0.002)  # work of somebody else
        await turns.pass_by(2)
        assert held.flushed == [start]

    asyncio.run(send())


@pytest.mark.parametrize("senders", [1, 2, 50])
def test_everybody_is_flushed_as_often_as_added(senders: int) -> None:
    async def send() -> None:
        turns = Turns()
        writes = Writes()
        them = [Sender(turns) for _ in range(senders)]
        for number in range(20):
            for sender in them:
                writes.add(sender)
            await turns.pass_by(number % 4)
        await turns.pass_by(3)
        assert Counter(len(each.flushed) for each in them) == {20: senders}

    asyncio.run(send())
