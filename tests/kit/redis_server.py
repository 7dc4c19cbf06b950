"""Redis servers of the test's own: one, a master with a replica and Sentinels, a Cluster of three.

Each on free loopback ports in a temporary folder, ended by its process. Valkey would do as well.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.kit.apt import need
from tests.kit.relay_process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MASTER", "RedisServer", "cluster", "sentinels"]

MASTER = "edge"
"""The name under which Sentinels know the master."""


class RedisServer:
    """One server; use as a context. What it keeps survives `kill` and `start` if it writes a log.

    Args:
        settings: lines of its configuration, as "appendonly yes".
        arguments: what `client` needs to get in: password, TLS.
        is_sentinel: run it as a Sentinel.
    """

    def __init__(
        self,
        settings: Iterable[str] = (),
        arguments: dict[str, Any] | None = None,
        *,
        is_sentinel: bool = False,
    ) -> None:
        self._binary = need("redis-server")
        self._arguments = arguments or {}
        self._is_sentinel = is_sentinel
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-redis-"))
        self.port = free_port()
        has_tls = "ssl" in self._arguments
        lines = [
            f"port {0 if has_tls else self.port}",
            *([f"tls-port {self.port}"] if has_tls else []),
            "bind 127.0.0.1",
            f"dir {self.folder}",
            'save ""',
            "loglevel warning",
            f"logfile {self.folder}/log",
            *settings,
        ]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        """What `[state] url` has to say."""
        return f"{'rediss' if 'ssl' in self._arguments else 'redis'}://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A synchronous client of redis-py that tries once."""
        retry = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, retry=retry, socket_timeout=5, **self._arguments)

    def start(self) -> None:
        """Start it, anew with the same port and files after `kill`."""
        mode = ["--sentinel"] if self._is_sentinel else []
        self._process = subprocess.Popen([self._binary, str(self.folder / "redis.conf"), *mode])
        wait_until("Redis answers", self._answers)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            client.ping()
            return True
        return False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def sentinels() -> Iterator[tuple[RedisServer, RedisServer, list[RedisServer]]]:
    """Run a master, its replica and three Sentinels that replace a dead master within a second or two."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(RedisServer())
        replica = stack.enter_context(RedisServer([f"replicaof 127.0.0.1 {master.port}"]))
        with replica.client() as client:
            wait_until(
                "replica follows",
                lambda: client.info("replication")["master_link_status"] == "up",
            )
        watch = (
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 5000",
        )
        found = [stack.enter_context(RedisServer(watch, is_sentinel=True)) for _ in range(3)]
        for each in found:
            with each.client() as client:
                wait_until("Sentinels know all", lambda client=client: _knows_all(client))  # type: ignore[misc]
        yield master, replica, found


def _knows_all(client: Any) -> bool:
    state = client.execute_command("SENTINEL", "MASTER", MASTER)
    fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
    known = {_text(key): _text(value) for key, value in fields.items()}
    return known["num-other-sentinels"] == "2" and known["num-slaves"] == "1"


@contextlib.contextmanager
def cluster() -> Iterator[list[RedisServer]]:
    """Run three nodes that share all slots."""
    with contextlib.ExitStack() as stack:
        bus_ports = [free_port() for _ in range(3)]
        settings = ("cluster-enabled yes", "cluster-node-timeout 2000")
        nodes = [
            stack.enter_context(RedisServer([*settings, f"cluster-port {port}"]))
            for port in bus_ports
        ]
        clients = [stack.enter_context(node.client()) for node in nodes]
        bounds = [0, 5461, 10923, 16384]
        for client, start, end in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for node, bus_port in zip(nodes, bus_ports, strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        for client in clients:
            wait_until("the Cluster stands", lambda client=client: _stands(client))  # type: ignore[misc]
        yield nodes


def _stands(client: Any) -> bool:
    told = _text(client.execute_command("CLUSTER", "INFO"))
    return "cluster_state:ok" in told and "cluster_known_nodes:3" in told


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
