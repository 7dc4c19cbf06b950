"""redis-py's clients for the settings: of one server, of the master that Sentinels know, of a Cluster.

Nothing connects here; `redis_link.py` uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from relay.state.redis_address import parse_store_url, password_of, read_secret, tls_context

if TYPE_CHECKING:
    import ssl

    from relay.settings.state import State

__all__ = ["Clients", "make_clients"]


class Clients(NamedTuple):
    """`store` is the client to ask, `name` what failures are reported under, `others` those of Sentinels."""

    store: Any
    name: str
    is_cluster: bool = False
    others: tuple[Any, ...] = ()

    def all(self) -> tuple[Any, ...]:
        """Return all that must be closed."""
        return self.store, *self.others


def make_clients(state: State) -> Clients:
    """Make what the settings describe.

    Raises:
        ConfigurationError: a file that the settings name can't be read.
    """
    context = tls_context(state)
    arguments = _arguments(state, state.username, password_of(state))
    name = ", ".join(state.url)
    if state.topology == "cluster":
        return Clients(_cluster(state, arguments, context), name, is_cluster=True)
    arguments["db"] = state.database
    if state.topology == "sentinel":
        return _sentinel(state, arguments, context)
    ((host, port),) = _endpoints(state)
    return Clients(_secured(Redis(host=host, port=port, **arguments), context), name)


def _arguments(state: State, username: str, password: str | None) -> dict[str, Any]:
    """What redis-py wants to know of each connection."""
    seconds = state.timeout.total_seconds()
    return {
        "username": username or None,
        "password": password,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }


def _endpoints(state: State) -> list[tuple[str, int]]:
    endpoints = [parse_store_url(url, state.topology).endpoint for url in state.url]
    return [(each.address, each.port) for each in endpoints]


def _cluster(
    state: State, arguments: dict[str, Any], context: ssl.SSLContext | None
) -> RedisCluster:
    nodes = [ClusterNode(*endpoint) for endpoint in _endpoints(state)]
    cluster = RedisCluster(startup_nodes=nodes, ssl=context is not None, **arguments)
    if context is not None:
        connection_class = _speaking(SSLConnection, context)
        cluster.connection_kwargs["connection_class"] = connection_class
        for node in cluster.startup_nodes:
            node.connection_class = connection_class
    return cluster


def _sentinel(state: State, arguments: dict[str, Any], context: ssl.SSLContext | None) -> Clients:
    file = state.sentinel_password_file
    towards_sentinels = _arguments(
        state, state.sentinel_username, read_secret(file) if file else None
    )
    sentinel: Any = Sentinel(_endpoints(state), sentinel_kwargs=towards_sentinels)  # type: ignore[no-untyped-call]
    if context is not None:
        connection_class = _speaking(SentinelManagedSSLConnection, context)
        arguments = arguments | {"connection_class": connection_class}
        for each in sentinel.sentinels:
            _secured(each, context)
    master = sentinel.master_for(state.service, **arguments)
    return Clients(
        master, f"{state.service} of {', '.join(state.url)}", others=tuple(sentinel.sentinels)
    )


def _secured(client: Redis, context: ssl.SSLContext | None) -> Redis:
    if context is not None:
        client.connection_pool.connection_class = _speaking(SSLConnection, context)
    return client


def _speaking(kind: type[SSLConnection], context: ssl.SSLContext) -> type[SSLConnection]:
    """Return a class of connections that share a TLS context.

    redis-py makes one for each connection, which takes 25 ms, and trusts the system's CAs besides
    those that it is told to.
    """

    class Connection(kind):  # type: ignore[misc, valid-type]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.ssl_context.context = context

    return Connection
