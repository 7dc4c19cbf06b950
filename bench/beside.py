"""How long small messages wait while large signed ones are checked by the same worker.

    python bench/beside.py            about 30 seconds; `make bench-beside`

One worker, SPF, DKIM and DMARC of each message: small messages at a steady rate, first alone, then beside signed
messages of 20 MB, one after the other. The difference is what the large ones cost the small ones; with client,
sink and relay on two cores, part of it is the machine's.
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
from contestants import Checked
from signed import sign_load
from tools import load, load_command

HERE = Path(__file__).resolve().parent

SMALL = 10_240
LARGE = 20_000_000
RATE = 50
COUNT = 600
TURNS = 3


def measure(relay: Checked, large: int) -> dict[str, Any]:
    """Latencies (ms) of small messages, beside `large` large ones."""
    small = ["--conns", "1", "--rate", str(RATE), "--messages", str(COUNT), "--size", str(SMALL),
             "--prefix", str(sign_load(SMALL, relay.folder))]  # fmt: skip
    if not large:
        return dict(load(relay.port, relay.certs, small)["lat_ms"])
    options = ["--conns", "1", "--messages", str(large), "--size", str(LARGE),
               "--prefix", str(sign_load(LARGE, relay.folder)), "--timeout", "60"]  # fmt: skip
    command = load_command(relay.port, relay.certs, options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        latencies = dict(load(relay.port, relay.certs, small)["lat_ms"])
        assert other.stdout is not None
        seen = json.loads(other.stdout.read())
    assert seen["ok"] == large, seen
    latencies["large_s"] = round(seen["wall_s"], 1)
    return latencies


def main() -> None:
    print(interpreter.describe(), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-bench-")))
        certs = folder / "certs"
        subprocess.run([str(HERE / "certs.sh"), str(certs)], check=True, stderr=subprocess.DEVNULL)
        relay = Checked(folder, certs)
        stack.callback(relay.stop)
        measure(relay, 0)
        for _ in range(TURNS):
            print("alone ", measure(relay, 0), flush=True)
            print("beside", measure(relay, 40), flush=True)


if __name__ == "__main__":
    main()
