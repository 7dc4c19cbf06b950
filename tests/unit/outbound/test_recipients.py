"""Answers about recipients: remembered for a while, asked once at a time, never without bound."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relay.outbound.recipients import Recipients
from relay.smtp.replies import Reply
from tests.kit.clock import FakeClock

YES = Reply(250, "2.1.5", ("Ok",))
NO = Reply(550, "5.1.1", ("No",))
LATER = Reply(450, "4.2.0", ("Later",))
KEEP = timedelta(minutes=5)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.recipients = Recipients(self.clock)
        self.asked = 0

    def ask(self, key: str, reply: Reply) -> Reply:
        async def question() -> Reply:
            self.asked += 1
            return reply

        return asyncio.run(self.recipients.ask(key, question, KEEP))


@pytest.mark.parametrize(
    ("reply", "seconds"), [(YES, 300), (NO, 60), (LATER, 0)], ids=["yes", "no", "later"]
)
def test_an_answer_is_kept_by_its_kind(reply: Reply, seconds: int) -> None:
    world = World()
    assert world.ask("bob", reply) == reply
    if seconds:
        world.clock.advance(timedelta(seconds=seconds - 1))
        assert world.recipients.recall("bob") == reply
        world.clock.advance(timedelta(seconds=1))
    assert world.recipients.recall("bob") is None


def test_a_short_memory_is_short_for_refusals_too() -> None:
    world = World()

    async def question() -> Reply:
        return NO

    asyncio.run(world.recipients.ask("bob", question, timedelta(0)))
    assert world.recipients.recall("bob") is None


def test_a_surprise_is_told_once_and_not_forever() -> None:
    world = World()
    world.ask("bob", YES)
    world.recipients.surprise("bob", LATER)
    world.clock.advance(timedelta(minutes=59))
    assert world.recipients.recall("bob") == LATER
    assert world.recipients.recall("bob") is None
    world.recipients.surprise("bob", LATER)
    world.clock.advance(timedelta(minutes=61))
    assert world.recipients.recall("bob") is None


def test_memory_is_bounded_and_drops_what_was_not_used_longest() -> None:
    world = World()
    world.recipients.surprise("first", NO)
    for number in range(20_000):
        world.recipients.surprise(str(number), NO)
    assert len(world.recipients._memories) == 10_000
    assert world.recipients.recall("first") is None
    assert world.recipients.recall("19999") == NO


def test_what_is_used_stays() -> None:
    world = World()
    world.ask("used", YES)
    for number in range(15_000):
        world.recipients.surprise(str(number), NO)
        assert world.recipients.recall("used") == YES


def test_a_question_that_fails_leaves_nothing_behind() -> None:
    world = World()

    async def broken() -> Reply:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        asyncio.run(world.recipients.ask("bob", broken, KEEP))
    assert world.ask("bob", YES) == YES


def test_close_calls_questions_off() -> None:
    world = World()

    async def run() -> None:
        async def endless() -> Reply:
            await asyncio.Event().wait()
            return YES

        asking = asyncio.create_task(world.recipients.ask("bob", endless, KEEP))
        await asyncio.sleep(0)
        await world.recipients.close()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(run())
