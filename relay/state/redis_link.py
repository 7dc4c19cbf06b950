"""The connection to a Valkey or Redis: one server, a master that Sentinels know, or a Cluster.

Every call ends within the deadline, with an answer or with Unavailable. After a failure nobody asks
for a moment, which doubles up to a limit, so that a server that is away costs each message nothing
and is found within seconds when it is back. Nothing is repeated by itself: what was lost on the way
may have been done. Knows no meaning of keys and scripts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relay.errors import Unavailable
from relay.state.redis_address import connection_arguments, parse_store_url, sentinel_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from relay.settings import State

__all__ = ["Link", "Script", "open_link"]

_SCRIPTS: Final = Path(__file__).parent / "scripts"
_AT_ONCE: Final = 64
"""Calls under way at a time, each with a connection; more of them wait."""
_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Script:
    """A Lua script of the folder `scripts`."""

    def __init__(self, name: str) -> None:
        self.text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def open_link(state: State) -> Link:
    """Make the link that the settings describe; nothing is connected before it is used.

    Raises:
        ConfigurationError: a file that the settings name can't be read.
    """
    endpoints = [parse_store_url(url, state.topology).endpoint for url in state.url]
    arguments: dict[str, Any] = connection_arguments(state) | {"retry": Retry(NoBackoff(), 0)}
    timeout = state.timeout.total_seconds()
    name = ", ".join(state.url)
    if state.topology == "cluster":
        nodes = [ClusterNode(each.address, each.port) for each in endpoints]
        client = RedisCluster(startup_nodes=nodes, **arguments)
        return Link(client, timeout, name, is_cluster=True)
    if state.topology == "sentinel":
        places = [(each.address, each.port) for each in endpoints]
        extra = sentinel_arguments(state) | {"retry": Retry(NoBackoff(), 0)}
        sentinel: Any = Sentinel(places, sentinel_kwargs=extra)  # type: ignore[no-untyped-call]
        master = sentinel.master_for(state.service, **arguments)
        return Link(master, timeout, f"{state.service} of {name}", besides=sentinel.sentinels)
    (endpoint,) = endpoints
    return Link(Redis(host=endpoint.address, port=endpoint.port, **arguments), timeout, name)


class Link:
    """Calls to the server.

    Args:
        client: redis-py's, which connects when it is used.
        timeout: for one call, in seconds.
        name: what failures are reported under.
        is_cluster: whether keys lie on several nodes.
        besides: clients that are to be closed, too.
    """

    def __init__(
        self,
        client: Any,
        timeout: float,
        name: str,
        *,
        is_cluster: bool = False,
        besides: Sequence[Any] = (),
    ) -> None:
        self._client = client
        self._besides = besides
        self._timeout = timeout
        self._name = name
        self._is_cluster = is_cluster
        self._places = asyncio.Semaphore(_AT_ONCE)
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
        async with self._guarded():
            try:
                return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:  # it was started anew, or this is a node that has not seen it
                return await self._client.eval(script.text, len(keys), *keys, *arguments)

    async def command(self, *words: Any) -> Any:
        """Give a command that is about one key. Raises Unavailable."""
        async with self._guarded():
            return await self._client.execute_command(*words)

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
        except (RedisError, OSError, TimeoutError) as error:
            await self._unsubscribe()
            raise Unavailable(f"{self._name}: {_describe(error)}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._unsubscribe()
        for client in (self._client, *self._besides):
            await self._close(client)

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._close(subscription)

    async def _close(self, client: Any) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                await client.aclose()

    @contextlib.asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Bound a call in time, have failures counted and told as Unavailable."""
        if time.monotonic() < self._resume_at:
            raise Unavailable(f"{self._name}: {self._failure} a moment ago")
        try:
            async with asyncio.timeout(self._timeout), self._places:
                yield
        except (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError) as error:
            self._note(error)
            raise Unavailable(f"{self._name}: {self._failure}") from error
        except RedisError as error:
            raise Unavailable(f"{self._name}: {_describe(error)}") from error
        self._pause = 0.0

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
