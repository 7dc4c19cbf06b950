"""Who is measured: the relay, the throwaway floor sketch, and no relay at all."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.kit

from process_tree import ProcessTree
from signed import DOMAIN, PRIVATE_KEY, ZONES
from tools import Sink, free_port, wait_for_banner

from tests.kit.dns_server import DnsServer
from tests.kit.redis_server import RedisServer

HERE = Path(__file__).resolve().parent
WORKERS = int(os.environ.get("GATEPOST_BENCH_WORKERS", "2"))

_SETTINGS = """\
hostname = "edge.example"
workers = {workers}
state_dir = "state"
allowlist = "allowlist.toml"

[limits]
max_connections = 12000

[log]
level = "warning"

[[listener]]
name = "bench"
address = "127.0.0.1:{port}"
tls = "starttls"
client_certificate = "required"
certificate = [{{ chain = "{certs}/server.pem", key = "{certs}/server.key" }}]
max_connections_per_address = 0

[route."*"]
hosts = ["127.0.0.1:{sink_port}"]
tls = "verify"
ca = ["{certs}/ca.pem"]
server_name = "localhost"
"""

_ALLOWLIST = """\
[[identity]]
name = "bench"
pins = ["cert:sha256:{pin}"]
senders = ["@client1.example"]
policy = ["limits.toml"]
"""

_LIMITS = """\
[[limit]]
name = "messages"
tier = { verified = ["100000000/1h", "1000000000/1d"] }
"""


_CHECKED = """\
[[rule]]
name = "checked"
at = "message"
when = 'spf.result != "pass" || dkim.result != "pass" || dmarc.result != "pass"'
then = "reject"
reply = "550 5.7.26 {spf.result} {dkim.result} {dmarc.result} {dkim.errors}"
"""


class Contestant:
    """A server in front of a sink of its own; both run from here to `stop`."""

    name = ""
    only = ""
    """The one regime that it runs in; empty: all."""
    sink_options: tuple[str, ...] = ("--require-tls",)

    def __init__(self, folder: Path, certs: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.certs = certs
        self.port, self.sink_port = free_port(), free_port()
        self.sink = Sink(self.sink_port, certs, *self.sink_options)
        self.tree = self._start()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _start(self) -> ProcessTree | None:
        log = self.folder / "server.log"
        tree = ProcessTree(self._command(), log)
        try:
            wait_for_banner(self.port, tree.process)
        except RuntimeError as error:
            tree.stop()
            self.sink.stop()
            raise SystemExit(f"{self.name}: {error}\n{log.read_text()[-3000:]}") from None
        return tree

    def cpu(self) -> float:
        """Seconds of CPU so far, read when all is quiet."""
        return self.tree.settled_cpu() if self.tree else self.sink.stats()["cpu_s"]

    def stop(self) -> None:
        if self.tree:
            self.tree.stop()
        self.sink.stop()


class Gatepost(Contestant):
    """The relay as an operator runs it: pinned identity, verified TLS upstream, audit trail."""

    name = "gatepost"

    def _command(self) -> list[str]:
        config = self.folder / "gatepost.toml"
        config.write_text(
            _SETTINGS.format(
                workers=WORKERS, port=self.port, certs=self.certs, sink_port=self.sink_port
            )
        )
        pin = (self.certs / "client.sha256").read_text().strip()
        (self.folder / "allowlist.toml").write_text(_ALLOWLIST.format(pin=pin))
        (self.folder / "limits.toml").write_text(_LIMITS)
        return [f"{Path(sys.executable).parent}/gatepost", "run", "--config", str(config)]


class Checked(Gatepost):
    """The relay that asks SPF, DKIM and DMARC of every message; its DNS answers from its cache."""

    name = "checked"
    only = "R6"  # what is not signed it refuses

    def __init__(self, folder: Path, certs: Path) -> None:
        self._open = ExitStack()
        self.name_server = self._open.enter_context(DnsServer(ZONES))
        super().__init__(folder, certs)

    def _command(self) -> list[str]:
        command = super()._command()
        (self.folder / "checked.toml").write_text(_CHECKED)
        config = self.folder / "gatepost.toml"
        servers = f'\n[dns]\nservers = ["{self.name_server.address}"]\n'
        policy = 'name = "bench"\npolicy = ["defaults", "checked.toml"]'
        config.write_text(config.read_text().replace('name = "bench"', policy) + servers)
        return command

    def stop(self) -> None:
        super().stop()
        self._open.close()


class Signing(Gatepost):
    """The relay that signs every message for its author's domain, with RSA-2048."""

    name = "signing"
    only = "R1"

    def _command(self) -> list[str]:
        command = super()._command()
        key = self.folder / "signing.pem"
        key.write_bytes(PRIVATE_KEY)
        key.chmod(0o600)
        entry = f'\n[[dkim.key]]\ndomain = "{DOMAIN}"\nselector = "bench"\nkey = "{key}"\n'
        config = self.folder / "gatepost.toml"
        config.write_text(config.read_text() + entry)
        return command


class Shared(Gatepost):
    """The relay as a node of a fleet: limits in a Redis, whose own CPU is not counted."""

    name = "shared"
    only = "R1"

    def __init__(self, folder: Path, certs: Path) -> None:
        self._open = ExitStack()
        self.redis = self._open.enter_context(RedisServer())
        super().__init__(folder, certs)

    def _command(self) -> list[str]:
        command = super()._command()
        config = self.folder / "gatepost.toml"
        state = f'\n[state]\nkind = "redis"\nurl = ["{self.redis.url}"]\n'
        config.write_text(config.read_text() + state)
        return command

    def stop(self) -> None:
        super().stop()
        self._open.close()


class Floor(Contestant):
    """The sketch without policy, safety or manners: what Python and OpenSSL cost at least."""

    name = "floor"

    def _command(self) -> list[str]:
        script = str(HERE / "floor_engine.py")
        return [sys.executable, script, str(self.port), str(self.sink_port), str(self.certs)]


class Direct(Contestant):
    """The load generator straight to the sink: the tools' own limit; the CPU is the sink's."""

    name = "direct"
    sink_options = ("--require-cert",)

    def __init__(self, folder: Path, certs: Path) -> None:
        self.sink_options = ("--require-cert", "--ca", f"{certs}/ca.pem")
        super().__init__(folder, certs)
        self.port = self.sink_port

    def _start(self) -> None:
        return None


CONTESTANTS: dict[str, type[Contestant]] = {
    c.name: c
    for c in (Gatepost, Checked, Signing, Shared, Floor, Direct)
    if c is not Shared or shutil.which("redis-server")
}
