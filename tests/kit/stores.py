"""Every kind of `ports.Store`, made for a test: two clients of one store each time, as two nodes have.

Servers are started when the first test asks for them and serve all tests of a process; each test gets
a prefix or a folder of its own.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Self

from relay.settings.state import State
from relay.settings.table import CertificateFiles
from relay.state.memory import MemoryStore
from relay.state.opening import open_store
from tests.kit.pki import Authority
from tests.kit.redis_server import MASTER, RedisServer, cluster, sentinels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from relay.ports import Store

__all__ = ["KINDS", "Servers", "two_clients"]

KINDS = ("memory", "sqlite", "redis", "redis with TLS and ACL", "sentinel", "cluster")

_USER = "edge"
_PASSWORD = "correct horse battery staple"  # noqa: S105  a test's own
_RIGHTS = (
    f"user {_USER} on #{{digest}} ~gatepost* &gatepost* -@all +@connection +@scripting +get +set "
    "+mget +hget +hset +hdel +hscan +publish +subscribe +unsubscribe +time"
)
_numbers = itertools.count()


class Servers:
    """The servers that tests have asked for so far. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._states: dict[str, State] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def state(self, kind: str) -> State:
        """Return `[state]` for a kind, with a prefix of its own."""
        if kind not in self._states:
            self._states[kind] = self._start(kind)
        prefix = f"gatepost{next(_numbers)}:"
        return self._states[kind].model_copy(update={"prefix": prefix})

    def _start(self, kind: str) -> State:
        if kind == "redis":
            server = self._stack.enter_context(RedisServer())
            return _state(url=[server.url])
        if kind == "redis with TLS and ACL":
            return self._stack.enter_context(_guarded_server(self._folder))
        if kind == "sentinel":
            _, _, watchers = self._stack.enter_context(sentinels())
            urls = [each.url for each in watchers]
            return _state(url=urls, topology="sentinel", service=MASTER)
        if kind == "cluster":
            nodes = self._stack.enter_context(cluster())
            return _state(url=[each.url for each in nodes], topology="cluster")
        return State.model_validate({"kind": kind})


@contextlib.contextmanager
def _guarded_server(folder: Path) -> Iterator[State]:
    """A server that wants TLS, a certificate of ours and a password, and gives no more than we need."""
    from hashlib import sha256  # noqa: PLC0415

    authority = Authority()
    chain, key = authority.issue("localhost", ip=["127.0.0.1"], usages=["server"]).write(
        folder, "redis"
    )
    our_chain, our_key = authority.issue("edge.example.org", usages=["client"]).write(folder, "us")
    ca = folder / "redis-ca.pem"
    ca.write_bytes(authority.pem)
    password = folder / "password"
    password.write_text(_PASSWORD + "\n")
    settings = [
        f"tls-cert-file {chain}",
        f"tls-key-file {key}",
        f"tls-ca-cert-file {ca}",
        "tls-auth-clients yes",
        _RIGHTS.format(digest=sha256(_PASSWORD.encode()).hexdigest()),
        "user default off",
    ]
    ours = CertificateFiles(chain=our_chain, key=our_key)
    arguments = {
        "ssl": True, "ssl_ca_certs": str(ca), "ssl_certfile": str(our_chain),
        "ssl_keyfile": str(our_key), "username": _USER, "password": _PASSWORD,
    }  # fmt: skip
    with RedisServer(settings, arguments) as server:
        yield _state(
            url=[server.url], username=_USER, password_file=password, ca=ca, client_certificate=ours
        )


def _state(**values: Any) -> State:
    return State.model_validate({"kind": "redis", **values})


@contextlib.asynccontextmanager
async def two_clients(state: State, folder: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Open a store twice; the one in memory is the same twice."""
    one = open_store(state, folder)
    other = one if isinstance(one, MemoryStore) else open_store(state, folder)
    try:
        yield one, other
    finally:
        await one.close()
        if other is not one:
            await other.close()
