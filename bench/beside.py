"""How long small messages wait while large signed ones are checked by the same worker.

    python bench/beside.py            about a minute; `make bench-beside`

One worker, SPF, DKIM and DMARC of each message: small messages at a steady rate, first alone, then beside signed
messages of 20 MB, one after the other. The difference is what the large ones cost the small ones.

So that it is the relay's and not the bench's, the large ones have a route and a sink of their own, and their client
and sink yield the processor to the rest (nice 19). What is left of the machine's part, client, sinks and relay on the
same cores, the line "no relay" shows: both sorts go straight to their sinks.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("GATEPOST_BENCH_WORKERS", "1")

import interpreter
from contestants import Checked, Direct
from signed import sign_load
from tools import Sink, free_port, load, load_command

HERE = Path(__file__).resolve().parent

SMALL = 10_240
LARGE = 20_000_000
RATE = 50
COUNT = 600
TURNS = 3
ENOUGH = 100_000
"""More large messages than there is time for: they end with the small ones."""
LARGE_DOMAIN = "large.example"

_ROUTE = """
[route."{domain}"]
hosts = ["127.0.0.1:{port}"]
tls = "verify"
ca = ["{certs}/ca.pem"]
server_name = "localhost"
"""


class LargeSink(Sink):
    """The sink of the large messages, which stands back behind everybody else."""

    def __init__(self, certs: Path) -> None:
        self.port = free_port()
        super().__init__(self.port, certs, "--require-tls")
        os.setpriority(os.PRIO_PROCESS, self.process.pid, 19)


class Relay(Checked):
    """The relay with a route of their own for large messages."""

    def __init__(self, folder: Path, certs: Path) -> None:
        self.large = LargeSink(certs)
        super().__init__(folder, certs)
        self.large_port = self.port

    def _command(self) -> list[str]:
        command = super()._command()
        route = _ROUTE.format(domain=LARGE_DOMAIN, port=self.large.port, certs=self.certs)
        config = self.folder / "gatepost.toml"
        config.write_text(config.read_text() + route)
        return command

    def stop(self) -> None:
        super().stop()
        self.large.stop()


class NoRelay(Direct):
    """Client and sink alone, one pair for each sort: what of the waiting is the machine's."""

    def __init__(self, folder: Path, certs: Path) -> None:
        self.large = LargeSink(certs)
        super().__init__(folder, certs)
        self.large_port = self.large.port

    def stop(self) -> None:
        super().stop()
        self.large.stop()


def measure(relay: Relay | NoRelay, *, beside: bool) -> dict[str, Any]:
    """Latencies (ms) of small messages, alone or beside large ones."""
    small = ["--conns", "1", "--rate", str(RATE), "--messages", str(COUNT), "--size", str(SMALL),
             "--prefix", str(sign_load(SMALL, relay.folder))]  # fmt: skip
    if not beside:
        return dict(load(relay.port, relay.certs, small)["lat_ms"])
    to = ["--to", f"bench@{LARGE_DOMAIN}"]
    options = ["--conns", "1", "--messages", str(ENOUGH), "--size", str(LARGE), *to,
               "--prefix", str(sign_load(LARGE, relay.folder, *to)), "--timeout", "60"]  # fmt: skip
    command = load_command(relay.large_port, relay.certs, options)
    with subprocess.Popen(["nice", "-n", "19", *command], stdout=subprocess.PIPE, text=True) as other:  # fmt: skip
        latencies = dict(load(relay.port, relay.certs, small)["lat_ms"])
        other.terminate()
        assert other.stdout is not None
        seen = json.loads(other.stdout.read())
    assert seen["ok"], seen
    assert not seen["rejected"], seen
    return latencies | {"large": seen["ok"], "large_s": round(seen["wall_s"] / seen["ok"], 2)}


def main() -> None:
    print(interpreter.describe(), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-bench-")))
        certs = folder / "certs"
        subprocess.run([str(HERE / "certs.sh"), str(certs)], check=True, stderr=subprocess.DEVNULL)
        nobody = NoRelay(folder, certs)
        stack.callback(nobody.stop)
        print("no relay", measure(nobody, beside=True), flush=True)
        relay = Relay(folder, certs)
        stack.callback(relay.stop)
        measure(relay, beside=False)
        for _ in range(TURNS):
            print("alone   ", measure(relay, beside=False), flush=True)
            print("beside  ", measure(relay, beside=True), flush=True)


if __name__ == "__main__":
    main()
