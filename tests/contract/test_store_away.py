"""A Redis that goes away: every call ends in time, what is known stays in force, and it is found again."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from ipaddress import ip_address

import pytest
import uvloop

from relay.errors import Unavailable
from relay.model import Charge, Restriction, RestrictionKind, Score
from relay.net.clock import SystemClock
from relay.settings.state import State
from relay.state.redis import open_redis
from relay.state.watching import Watcher
from tests.kit.redis_server import MASTER, RedisServer, cluster, sentinels

TIMEOUT = 0.5
KEPT = ("appendonly yes", "appendfsync always")
PEER = ip_address("192.0.2.7")


def settings(*urls: str, **values) -> State:
    return State.model_validate({"kind": "redis", "timeout": "500ms", "url": urls, **values})


def ban(subject: str = "192.0.2.0/24") -> Restriction:
    now = time.time()
    return Restriction(RestrictionKind.BAN, subject, "test", "test", now, now + 600)


async def spend(store, limit: int = 100, key: str = "a") -> bool:
    return not any(await store.spend([Charge(key, 1, limit, 86400.0)], time.time()))


async def within(seconds: float, attempt):
    """Repeat a call that is Unavailable until it works; each try must end in time."""
    end = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        try:
            return await attempt()
        except Unavailable:
            assert time.monotonic() - begun < TIMEOUT + 0.4
            assert time.monotonic() < end, "not back in time"
            await asyncio.sleep(0.05)


async def every_call_fails_in_time(store) -> None:
    now = time.time()
    calls = (
        lambda: store.spend([Charge("a", 1, 10, 60.0), Charge("b", 1, 10, 60.0)], now),
        lambda: store.add_scores([Score("a", 1.0, 60.0)], now),
        lambda: store.scores(["a", "b"], now),
        lambda: store.restrict(ban()),
        lambda: store.lift(RestrictionKind.BAN, "192.0.2.0/24"),
        store.restrictions,
        store.version,
        lambda: store.changed(0, timedelta(seconds=1)),
        lambda: store.get("a", now),
        lambda: store.put("a", b"", now + 60),
    )
    for call in calls:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await call()
        assert time.monotonic() - begun < TIMEOUT + 0.4


def run(scenario) -> None:
    uvloop.run(asyncio.wait_for(scenario(), 60))


def test_killed_and_restarted_under_load() -> None:
    async def scenario() -> None:
        store = open_redis(settings(server.url))
        admitted, unavailable, slowest = [0], [0], [0.0]
        going_on = True

        async def sender() -> None:
            while going_on:
                begun = time.monotonic()
                try:
                    is_admitted = await spend(store, 300)
                    admitted[0] += is_admitted
                except Unavailable:
                    unavailable[0] += 1
                    await asyncio.sleep(0.01)
                slowest[0] = max(slowest[0], time.monotonic() - begun)
                await asyncio.sleep(0.005)

        senders = [asyncio.create_task(sender()) for _ in range(8)]
        for _ in range(2):
            while admitted[0] < 100 and not unavailable[0]:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            await every_call_fails_in_time(store)
            await asyncio.to_thread(server.start)
            await within(3, store.version)
        while admitted[0] < 280:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        going_on = False
        await asyncio.wait(senders, timeout=5)
        assert all(each.done() for each in senders)
        await asyncio.gather(*senders)
        # What was killed on its way may have been charged, so a few less, and never one more.
        assert 280 <= admitted[0] <= 300
        assert unavailable[0]
        assert slowest[0] < TIMEOUT + 0.5
        await store.close()

    with RedisServer(KEPT) as server:
        run(scenario)


def test_a_server_that_does_not_answer_costs_each_call_its_deadline_at_most() -> None:
    async def scenario() -> None:
        writers = []
        silent = await asyncio.start_server(lambda _, w: writers.append(w), "127.0.0.1", 0)
        store = open_redis(settings(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}"))
        begun = time.monotonic()
        answers = await asyncio.gather(*(spend(store) for _ in range(100)), return_exceptions=True)
        assert time.monotonic() - begun < TIMEOUT + 0.5
        assert {type(each) for each in answers} == {Unavailable}
        # Nobody waits again for what has just not answered.
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await spend(store)
        assert time.monotonic() - begun < 0.05
        await store.close()
        for writer in writers:
            writer.close()
        silent.close()

    run(scenario)


def test_nobody_listens() -> None:
    async def scenario() -> None:
        with RedisServer() as server:
            url = server.url
        store = open_redis(settings(url))
        await every_call_fails_in_time(store)
        await store.close()

    run(scenario)


def test_a_wrong_password_is_told_without_it() -> None:
    async def scenario() -> None:
        store = open_redis(settings(server.url, password="Sesame"))
        with pytest.raises(Unavailable, match="(?i)password") as caught:
            await store.version()
        assert "Sesame" not in str(caught.value)
        await store.close()

    with RedisServer(["requirepass correct"], {"password": "correct"}) as server:
        run(scenario)


def test_known_bans_stay_while_the_store_is_away_and_new_ones_reach_it_later() -> None:
    async def scenario() -> None:
        store, other = open_redis(settings(server.url)), open_redis(settings(server.url))
        changes = []
        watcher = Watcher(store, SystemClock(), lambda: changes.append(time.monotonic()))
        await other.restrict(ban())
        await watcher.start()
        watching = asyncio.create_task(watcher.run())
        assert watcher.view.banned(PEER)
        await asyncio.to_thread(server.kill)
        for _ in range(10):
            assert watcher.view.banned(PEER)
            await asyncio.sleep(0.02)
        await watcher.restrict(ban("198.51.100.0/24"))
        assert watcher.view.banned(ip_address("198.51.100.1"))
        await asyncio.to_thread(server.start)

        async def has_both() -> bool:
            return len(await other.restrictions()) == 2

        end = time.monotonic() + 5
        while not await within(5, has_both):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert watcher.view.banned(PEER)
        begun, before = time.monotonic(), len(changes)
        await other.lift(RestrictionKind.BAN, "192.0.2.0/24")
        while len(changes) == before:
            await asyncio.sleep(0.01)
        assert not watcher.view.banned(PEER)
        assert watcher.view.banned(ip_address("198.51.100.1"))
        assert time.monotonic() - begun < 1
        watching.cancel()
        await asyncio.wait([watching])
        await asyncio.gather(store.close(), other.close())

    with RedisServer(KEPT) as server:
        run(scenario)


def test_sentinels_replace_the_master() -> None:
    async def scenario() -> None:
        store = open_redis(
            settings(*(each.url for each in watchers), topology="sentinel", service=MASTER)
        )
        watcher = Watcher(store, SystemClock(), lambda: None)
        await store.restrict(ban())
        assert await spend(store, 10)
        await watcher.start()
        watching = asyncio.create_task(watcher.run())
        with master.client() as client:
            client.wait(1, 2000)  # the replica has it
        await asyncio.to_thread(master.kill)
        begun = time.monotonic()

        async def attempt() -> bool:
            assert watcher.view.banned(PEER)
            return await spend(store, 10)

        assert await within(20, attempt)
        print(f"master replaced after {time.monotonic() - begun:.1f} s")
        assert [each.subject for each in await store.restrictions()] == ["192.0.2.0/24"]
        # Nine of ten are left but for the first, so the replica knew of it.
        assert sum([await spend(store, 10) for _ in range(20)]) == 8
        watching.cancel()
        await asyncio.wait([watching])
        await store.close()

    with sentinels() as (master, _, watchers):
        run(scenario)


def test_a_node_of_a_cluster_goes_and_comes() -> None:
    async def scenario() -> None:
        store = open_redis(settings(*(each.url for each in nodes), topology="cluster"))
        keys = [f"key {number}" for number in range(60)]
        assert all([await spend(store, key=key) for key in keys])
        await asyncio.to_thread(nodes[1].kill)

        async def works(key: str) -> bool:
            try:
                return await spend(store, key=key)
            except Unavailable:
                await asyncio.sleep(0.15)
                return False

        answers = [await works(key) for key in keys]
        # A third of the slots is away; the others go on, until the Cluster as a whole gives up.
        assert not all(answers)
        await asyncio.to_thread(nodes[1].start)
        begun = time.monotonic()
        for key in keys:
            assert await within(20, lambda key=key: spend(store, key=key))
        print(f"Cluster back after {time.monotonic() - begun:.1f} s")
        await store.close()

    with cluster() as nodes:
        run(scenario)
