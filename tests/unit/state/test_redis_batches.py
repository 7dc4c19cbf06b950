"""Commands to a Redis: those of one turn go together, a failure is of whom it concerns, nobody waits for nobody."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from relay.state.redis_batches import Batches


class FakeClient:
    """A client of redis-py's kind: what was sent together is one entry of `sent`; answers are the last word."""

    def __init__(self):
        self.sent = []
        self.most_at_once = self.at_once = 0
        self.initialized = 0
        self.open = asyncio.Event()
        self.open.set()

    async def initialize(self):
        self.initialized += 1

    async def execute_command(self, *words):
        (answer,) = await self.answer([words])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, *, transaction):
        assert not transaction
        return FakePipeline(self)

    async def answer(self, commands):
        self.sent.append([words[-1] for words in commands])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self.at_once -= 1
        if any(words[0] == "BREAK" for words in commands):
            raise RedisConnectionError("gone")
        return [ResponseError("no") if words[0] == "BAD" else words[-1] for words in commands]


class FakePipeline:
    def __init__(self, client):
        self.client, self.commands = client, []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def execute_command(self, *words):
        self.commands.append(words)

    async def execute(self, *, raise_on_error):
        assert not raise_on_error
        return await self.client.answer(self.commands)


def talk(scenario, *, is_cluster=False):
    async def begin():
        client = FakeClient()
        async with asyncio.timeout(10):
            await scenario(client, Batches(client, is_cluster=is_cluster))

    asyncio.run(begin())


def test_what_is_asked_in_one_turn_goes_together_and_in_order():
    async def scenario(client, batches):
        asked = [batches.ask("GET", number) for number in range(5)]
        assert await asyncio.gather(*asked) == [0, 1, 2, 3, 4]
        assert client.sent == [[0, 1, 2, 3, 4]]
        assert await batches.ask("GET", 5) == 5
        assert client.sent[1:] == [[5]]

    talk(scenario)


def test_what_is_asked_later_does_not_wait_for_what_is_under_way():
    async def scenario(client, batches):
        client.open.clear()
        first = batches.ask("GET", 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = batches.ask("GET", 2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.sent == [[1], [2]]
        client.open.set()
        assert await asyncio.gather(first, second) == [1, 2]

    talk(scenario)


def test_a_crowd_waits_for_connections_and_is_answered_to_the_last():
    async def scenario(client, batches):
        assert await asyncio.gather(*(batches.ask("GET", number) for number in range(2000))) == [
            *range(2000)
        ]
        assert client.most_at_once == 16
        assert max(map(len, client.sent)) == 32

    talk(scenario)


def test_a_command_that_the_server_does_not_like_concerns_nobody_else():
    async def scenario(client, batches):
        good, bad, other = batches.ask("GET", 1), batches.ask("BAD", 2), batches.ask("GET", 3)
        assert (await good, await other) == (1, 3)
        with pytest.raises(ResponseError, match="no"):
            await bad

    talk(scenario)


@pytest.mark.parametrize("others", [0, 3])
def test_a_connection_that_breaks_is_told_to_all_who_were_on_it(others):
    async def scenario(client, batches):
        asked = [batches.ask("BREAK", 0), *(batches.ask("GET", 1) for _ in range(others))]
        for answer in asked:
            with pytest.raises(RedisConnectionError, match="gone"):
                await answer
        assert await batches.ask("GET", 2) == 2, "the next one is a new one"

    talk(scenario)


def test_who_has_given_up_is_not_sent_any_more_and_holds_nobody_up():
    async def scenario(client, batches):
        client.open.clear()
        under_way = [batches.ask("GET", number) for number in range(16 * 32)]
        await asyncio.sleep(0)
        late = [batches.ask("GET", 1000 + number) for number in range(40)]
        for each in (*under_way[:5], *late[:39]):
            each.cancel()
        client.open.set()
        assert await late[39] == 1039
        assert await under_way[5] == 5
        assert client.sent[16:] == [[1039]]

    talk(scenario)


def test_a_cluster_is_asked_one_by_one_once_its_nodes_are_known():
    async def scenario(client, batches):
        assert await asyncio.gather(*(batches.ask("GET", number) for number in range(3))) == [
            0, 1, 2,
        ]  # fmt: skip
        assert client.sent == [[0], [1], [2]]
        assert client.initialized == 3

    talk(scenario, is_cluster=True)


def test_closing_waits_for_what_is_under_way_but_not_for_long():
    async def scenario(client, batches):
        await batches.settle(5)
        client.open.clear()
        answer = batches.ask("GET", 1)
        await asyncio.sleep(0)
        await batches.settle(0.01)
        assert not answer.done()
        asyncio.get_running_loop().call_soon(client.open.set)
        await batches.settle(5)
        assert answer.result() == 1

    talk(scenario)
