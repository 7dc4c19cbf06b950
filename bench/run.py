"""Measures Gatepost, the floor sketch and a direct line in one go, interleaved.

    make bench                                       everything, three times (about 7 minutes)
    make bench BENCH_ARGS="--quick"                  a first impression (about a minute)
    make bench BENCH_ARGS="--regimes R1,R2 --repeat 5"
    make bench BENCH_ARGS="--profile"                where a worker's time goes in R1 (py-spy)

GATEPOST_BENCH_WORKERS sets the relay's worker processes (2).

CPU is of the whole process tree of the server, from the first connection until all is quiet.
The client, the server and the sink share the cores, so messages per second say less than CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import interpreter
from contestants import CONTESTANTS, Contestant
from profiling import profile_worker
from report import Cell, Idle, Measured, format_report
from signed import sign_load
from tools import load, load_command

HERE = Path(__file__).resolve().parent

REGIMES = {
    "R1": ("kept connections: 20, 50 messages each, 10 kB", 4000,
           ["--conns", "20", "--per-conn", "50", "--size", "10240"]),
    "R2": ("a connection and a full handshake per message, 20 at a time, 10 kB", 2000,
           ["--conns", "20", "--per-conn", "1", "--size", "10240"]),
    "R2r": ("as R2, TLS sessions resumed", 2000,
            ["--conns", "20", "--per-conn", "1", "--size", "10240", "--resume"]),
    "R3": ("large: 4 connections, 10 messages each, 5 MB", 80,
           ["--conns", "4", "--per-conn", "10", "--size", "5000000"]),
    "R6": ("as R1, with a DKIM signature; checked: SPF, DKIM and DMARC of each message", 4000,
           ["--conns", "20", "--per-conn", "50", "--size", "10240"]),
    "R5": ("latency: one connection, 100 messages a second, 10 kB", 1000,
           ["--conns", "1", "--rate", "100", "--size", "10240"]),
    "R5f": ("latency: as R5, 600 messages a second", 3000,
            ["--conns", "1", "--rate", "600", "--size", "10240"]),
}  # fmt: skip
IDLE = "R4"
SIGNED = "R6"


def measure(contestant: Contestant, regime: str, messages: int) -> Measured:
    """One run of one regime: what it cost, how quick it was, and whether anything was lost."""
    contestant.sink.reset()
    before = contestant.cpu()
    options = ["--messages", str(messages), *REGIMES[regime][2]]
    if regime == SIGNED:
        options += ["--prefix", str(sign_load(10240, contestant.folder))]
    seen = load(contestant.port, contestant.certs, options)
    spent = contestant.cpu() - before
    got = contestant.sink.stats()
    span = max(got["last_msg_mono"] - seen["start_mono"], 1e-9)
    done = max(seen["ok"], 1)
    return Measured(
        cpu_ms=spent / done * 1e3,
        cpu_ms_per_mb=spent / (done * seen["size"] / 1e6) * 1e3,
        messages_per_s=got["messages"] / span,
        mb_per_s=got["messages"] * seen["size"] / span / 1e6,
        p50_ms=seen["lat_ms"]["p50"],
        p99_ms=seen["lat_ms"]["p99"],
        resumed=seen["resumed"] / max(seen["handshakes"], 1),
        lost=messages - seen["ok"] + abs(seen["ok"] - got["messages"]),
        complaint=seen["first_reject"] or seen["first_error"],
    )


def hold_idle(contestant: Contestant, connections: int) -> Idle:
    """Memory per connection that has said EHLO inside TLS and then nothing."""
    tree = contestant.tree
    assert tree is not None
    time.sleep(1)
    base = tree.memory_kib()
    before = tree.settled_cpu()
    command = load_command(contestant.port, contestant.certs,
                           ["--conns", "20", "--idle", str(connections), "--timeout", "120"])  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            opened: dict[str, Any] = json.loads(holder.stdout.readline())
            spent = tree.settled_cpu() - before
            full = tree.memory_kib()
        finally:
            holder.terminate()
    held = max(opened["held"], 1)
    return Idle(opened["held"], (full - base) / held, base / 1024, spent / held * 1e3)


def run(arguments: argparse.Namespace, running: list[Contestant]) -> str:
    """All regimes on all contestants, in turns, and the report of it."""
    idle: dict[str, Idle] = {}
    if IDLE in arguments.regimes:  # first: a heap that has grown would hide the connections
        for contestant in running:
            if contestant.tree and not contestant.only:
                idle[contestant.name] = hold_idle(contestant, arguments.idle)
    for contestant in running:
        options = ["--messages", "400", "--conns", "20", "--size", "10240"]
        load(contestant.port, contestant.certs,
             [*options, "--prefix", str(sign_load(10240, contestant.folder))])  # fmt: skip
    cells: dict[Cell, list[Measured]] = {}
    share = 0.2 if arguments.quick else 1.0
    for regime in (r for r in REGIMES if r in arguments.regimes):
        for _ in range(arguments.repeat):
            for contestant in running:
                if contestant.only not in {"", regime}:
                    continue
                one = measure(contestant, regime, int(REGIMES[regime][1] * share))
                cells.setdefault(Cell(regime, contestant.name), []).append(one)
                print(f"{regime} {contestant.name}: {one.cpu_ms:.3f} ms CPU, "
                      f"{one.messages_per_s:.0f}/s, p99 {one.p99_ms:.2f} ms", flush=True)  # fmt: skip
    middle = {cell: _median(runs) for cell, runs in cells.items()}
    source = next((c.tree.source for c in running if c.tree), "the sink itself")
    about = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {interpreter.describe()}. "
        f"Medians of {arguments.repeat}, interleaved. CPU from {source}."
    )
    words = {name: text for name, (text, *_) in REGIMES.items()}
    return format_report(about, words, middle, idle)


def _median(runs: list[Measured]) -> Measured:
    columns = list(zip(*runs, strict=True))
    figures = [statistics.median(c) for c in columns[:-2]]
    return Measured(*figures, max(columns[-2]), next((text for text in columns[-1] if text), ""))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one run with a fifth of the messages")
    parser.add_argument(
        "--regimes", default=",".join([*REGIMES, IDLE]), type=lambda t: t.split(",")
    )
    parser.add_argument("--who", default=",".join(CONTESTANTS), type=lambda t: t.split(","))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--idle", type=int, default=1000, help="connections of R4")
    parser.add_argument("--profile", action="store_true", help="where a worker's time goes in R1")
    parser.add_argument(
        "--name", default=time.strftime("bench-%Y-%m-%d"), help="of the result file"
    )
    arguments = parser.parse_args()
    if unknown := {*arguments.regimes} - {*REGIMES, IDLE} | {*arguments.who} - {*CONTESTANTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.repeat = 1
    return arguments


def main() -> None:
    arguments = parse_arguments()
    print(interpreter.describe(), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-bench-")))
        certs = folder / "certs"
        subprocess.run([str(HERE / "certs.sh"), str(certs)], check=True, stderr=subprocess.DEVNULL)
        running = []
        for name in ["gatepost"] if arguments.profile else arguments.who:
            running.append(CONTESTANTS[name](folder, certs))
            stack.callback(running[-1].stop)
        if arguments.profile:
            print(profile_worker(running[0], REGIMES["R1"][2]))
            return
        report = run(arguments, running)
    print(f"\n{report}")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{arguments.name}.md").write_text(
        f"# Bench, {time.strftime('%Y-%m-%d')}\n\n{report}"
    )


if __name__ == "__main__":
    main()
