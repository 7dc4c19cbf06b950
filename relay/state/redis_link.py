"""The connection to a Valkey or Redis: one server, a master that Sentinels know, or a Cluster.

Every call ends within the deadline, with an answer or with Unavailable. After a failure nobody asks
for a moment, which doubles up to a limit, so that a server that is away costs each message nothing
and is found within seconds when it is back. Nothing is repeated by itself: what was lost on the way
may have been done. What has no answer in time is not broken off either, for that would cost the
connection, and a busy server would have to make new ones, too. Knows no meaning of keys and scripts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relay.errors import Unavailable
from relay.state.redis_batches import Batches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from relay.state.redis_clients import Clients

__all__ = ["Link", "Script"]

_SCRIPTS: Final = Path(__file__).parent / "scripts"
_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_FAILURES: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    TimeoutError,
    RuntimeError,  # uvloop's word for a connection that was closed under our hands
)
"""What says that the server cannot be reached, rather than that it does not like what we say."""


class Script:
    """A Lua script of the folder `scripts`."""

    def __init__(self, name: str) -> None:
        self.text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Link:
    """Calls to the server.

    Args:
        clients: redis-py's, which connect when they are used.
        timeout: for one call, in seconds.
    """

    def __init__(self, clients: Clients, timeout: float) -> None:
        self._clients = clients
        self._client = clients.store
        self._timeout = timeout
        self._name = clients.name
        self._is_cluster = clients.is_cluster
        self._batches = Batches(clients.store, is_cluster=clients.is_cluster)
        self._pause = 0.0
        self._resume_at = 0.0
        self._failure = ""
        self._subscription: Any = None

    def by_slot(self, keys: Sequence[str]) -> Sequence[Sequence[int]]:
        """Return the positions of keys that a script may touch together."""
        if not self._is_cluster:
            return [range(len(keys))]
        groups: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            groups.setdefault(key_slot(key.encode()), []).append(position)
        return list(groups.values())

    async def run(self, script: Script, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script on keys of one slot. Raises Unavailable."""
        self._check_pause()
        return await self._call(self._run(script, len(keys), *keys, *arguments))

    async def _run(self, script: Script, *arguments: Any) -> Any:
        try:
            return await self._batches.ask("EVALSHA", script.digest, *arguments)
        except NoScriptError:  # it was started anew, or this is a node that has not seen it
            return await self._batches.ask("EVAL", script.text, *arguments)

    async def command(self, *words: Any) -> Any:
        """Give a command that is about one key. Raises Unavailable."""
        self._check_pause()
        return await self._call(self._batches.ask(*words))

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of keys, None for what is not there. Raises Unavailable."""
        found: list[bytes | None] = [None] * len(keys)
        groups = self.by_slot(keys)
        calls: list[Awaitable[Any]] = [
            self.command("MGET", *(keys[position] for position in group)) for group in groups
        ]
        for group, values in zip(groups, await asyncio.gather(*calls), strict=True):
            for position, value in zip(group, values, strict=True):
                found[position] = value
        return found

    async def listen(self, channel: str, seconds: float) -> None:
        """Wait for a message on a channel, at most so long. Raises Unavailable."""
        try:
            async with asyncio.timeout(seconds + self._timeout):
                if self._subscription is None:
                    self._subscription = self._client.pubsub(ignore_subscribe_messages=True)
                    await self._subscription.subscribe(channel)
                await self._subscription.get_message(timeout=seconds)
        except (RedisError, *_FAILURES) as error:
            await self._unsubscribe()
            raise Unavailable(f"{self._name}: {_describe(error)}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._unsubscribe()
        await self._batches.settle(self._timeout)
        for client in self._clients.all():
            await self._close(client)

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._close(subscription)

    async def _close(self, client: Any) -> None:
        with contextlib.suppress(RedisError, *_FAILURES):
            async with asyncio.timeout(self._timeout):
                await client.aclose()

    async def _call(self, asked: Awaitable[Any]) -> Any:
        """Bound a call in time, have failures counted and told as Unavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await asked
        except _FAILURES as error:
            self._note(error)
            raise Unavailable(f"{self._name}: {_describe(error)}") from error
        except RedisError as error:
            raise Unavailable(f"{self._name}: {_describe(error)}") from error
        self._pause = 0.0
        return answer

    def _check_pause(self) -> None:
        if time.monotonic() < self._resume_at:
            raise Unavailable(f"{self._name}: {self._failure} a moment ago")

    def _note(self, error: BaseException) -> None:
        """Remember a failure: nobody asks for a moment, twice as long as the last time."""
        self._failure = _describe(error)
        now = time.monotonic()
        if now >= self._resume_at:  # of those who asked at the same time the first counts
            # In a Cluster one node may be away while the others answer.
            longest = _PAUSE_SECONDS if self._is_cluster else _LONGEST_PAUSE_SECONDS
            self._pause = min(max(2 * self._pause, _PAUSE_SECONDS), longest)
            self._resume_at = now + self._pause


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
