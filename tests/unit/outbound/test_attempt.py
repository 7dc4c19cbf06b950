"""What is tried again, and what is not. (More of it in test_forwarder.py, with a whole next hop.)"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pytest

from relay.errors import ConnectionLost, DeadlinePassed, HandshakeFailed, Unavailable
from relay.outbound.attempt import Answer, attempt
from relay.outbound.pool import LeftAlone

if TYPE_CHECKING:
    from relay.outbound.pool import Pool


class FakeConnection:
    """Its conversation ends as told."""

    engine = None

    def __init__(self, end: object, *, is_reused: bool = False, heard: bool = False) -> None:
        self.end = end
        self.is_reused = is_reused
        self.heard = heard
        self.messages = 0

    async def converse(self, _: object) -> object:
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


class FakePool:
    """Lends what it was given, in order; an exception is raised instead."""

    def __init__(self, *lent: FakeConnection | Exception) -> None:
        self.lent = deque(lent)
        self.asked: list[str] = []
        self.back: list[str] = []

    def take_idle(self) -> None:
        """What is lent comes from `acquire`."""

    async def acquire(self, *, fresh: bool = False, as_last_resort: bool = False) -> FakeConnection:
        self.asked.append("fresh" if fresh else "last resort" if as_last_resort else "any")
        found = self.lent.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    def release(self, connection: FakeConnection) -> None:
        self.back.append("released")

    def discard(self, connection: FakeConnection) -> None:
        self.back.append("discarded")


def ask(*pools: FakePool) -> Answer[Any]:
    return asyncio.run(attempt(cast("tuple[Pool, ...]", pools), lambda _: cast("Any", None)))


LOST = ConnectionLost("gone")


def test_an_answer_is_given_and_the_connection_goes_back() -> None:
    pool = FakePool(FakeConnection("yes"))
    answer = ask(pool)
    assert (answer.result, answer.error, pool.back) == ("yes", None, ["released"])
    assert cast("FakeConnection", answer.connection).messages == 1


def test_a_stale_connection_is_replaced_once() -> None:
    pool = FakePool(FakeConnection(LOST, is_reused=True), FakeConnection("yes"))
    assert ask(pool).result == "yes"
    assert (pool.asked, pool.back) == (["any", "fresh"], ["discarded", "released"])


def test_a_second_stale_connection_is_not_replaced() -> None:
    pool = FakePool(*(FakeConnection(LOST, is_reused=True) for _ in range(3)))
    assert ask(pool).error is LOST
    assert pool.back == ["discarded", "discarded"]


@pytest.mark.parametrize(
    "connection",
    [
        FakeConnection(LOST),
        FakeConnection(LOST, is_reused=True, heard=True),
        FakeConnection(DeadlinePassed("slow"), is_reused=True),
        FakeConnection(Unavailable("garbage"), is_reused=True),
    ],
    ids=["new", "heard", "late", "garbage"],
)
def test_nothing_else_is_asked_twice(connection: FakeConnection) -> None:
    pool, other = FakePool(connection), FakePool(FakeConnection("yes"))
    answer = ask(pool, other)
    assert (answer.error, answer.result) == (connection.end, None)
    assert (pool.asked, pool.back, other.asked) == (["any"], ["discarded"], [])


def test_hosts_are_gone_through_in_their_order() -> None:
    one, two = FakePool(Unavailable("refused")), FakePool(FakeConnection("yes"))
    answer = ask(one, two)
    assert (answer.result, answer.pool) == ("yes", cast("Any", two))


def test_those_left_alone_come_last() -> None:
    one = FakePool(LeftAlone("was down"), FakeConnection("yes"))
    two = FakePool(HandshakeFailed("wrong name"))
    assert ask(one, two).result == "yes"
    assert one.asked == ["any", "last resort"]


def test_if_nobody_is_there_the_last_real_failure_is_told() -> None:
    wrong = HandshakeFailed("wrong name")
    left = FakePool(LeftAlone("was down"), LeftAlone("being tried"))
    assert ask(FakePool(wrong), left).error is wrong
    away = LeftAlone("being tried")
    assert ask(FakePool(LeftAlone("was down"), away)).error is away
    refused = Unavailable("refused")
    only = FakePool(LeftAlone("was down"), refused)
    assert ask(only).error is refused


def test_a_fault_of_ours_cuts_the_connection_and_is_not_hidden() -> None:
    pool = FakePool(FakeConnection(RuntimeError("bug")))
    with pytest.raises(RuntimeError):
        ask(pool)
    assert pool.back == ["discarded"]
