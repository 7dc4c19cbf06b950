"""Steps and turns."""

import asyncio

import pytest

from relay.turns import at_once, in_turns
from tests.kit.turns import with_turns


def count_to(number, seen):
    for step in range(number):
        if step:
            yield
        seen.append(step)
    return number


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_others_have_a_turn_between_two_steps(number):
    seen = []
    result, turns = with_turns(in_turns(count_to(number, seen)))
    assert (result, turns, seen) == (number, max(number - 1, 0), list(range(number)))


def test_at_once_nobody_has_a_turn():
    seen = []
    assert at_once(count_to(7, seen)) == 7
    assert seen == list(range(7))


def test_two_computations_go_side_by_side():
    seen = []

    async def both():
        return await asyncio.gather(in_turns(count_to(3, seen)), in_turns(count_to(3, seen)))

    assert asyncio.run(both()) == [3, 3]
    assert seen == [0, 0, 1, 1, 2, 2]


def test_what_fails_fails():
    def steps():
        yield
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(in_turns(steps()))
