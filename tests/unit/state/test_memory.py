"""The store in memory forgets what is over; what else it does, the contract's suite shows."""

import asyncio

from relay.model import Charge
from relay.state.memory import MemoryStore


def test_keys_that_are_as_good_as_unknown_are_forgotten():
    async def scenario():
        store = MemoryStore()
        for number in range(10_000):
            await store.spend([Charge(f"key {number}", 1, 60, 60.0)], float(number))
        return len(store._arrivals)

    assert asyncio.run(scenario()) < 10


def test_what_lasts_is_kept_however_much_else_comes_and_goes():
    async def scenario():
        store = MemoryStore()
        await store.spend([Charge("lasting", 1, 1, 1e9)], 0.0)
        for number in range(1000):
            await store.spend([Charge(f"key {number}", 1, 60, 60.0)], float(number))
        return await store.spend([Charge("lasting", 1, 1, 1e9)], 1000.0)

    assert asyncio.run(scenario())[0] > 0
