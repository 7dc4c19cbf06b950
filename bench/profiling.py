"""Where the CPU of one busy worker goes, by py-spy; measures nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tools import load

if TYPE_CHECKING:
    from contestants import Contestant

SECONDS = 8
WAITING = "_worker (concurrent/futures/thread.py"
"""The leaf of a pool thread without work, which py-spy takes for busy."""


def profile_worker(contestant: Contestant, arguments: list[str]) -> str:
    """Put load on the relay and sample its busiest worker; returns the two tables as text."""
    spy = Path(sys.executable).parent / "py-spy"
    found = str(spy) if spy.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("py-spy is missing; .venv/bin/pip install py-spy")
    assert contestant.tree is not None
    load(contestant.port, contestant.certs, ["--messages", "400", *arguments])
    worker = contestant.tree.pids()[-1]
    with tempfile.NamedTemporaryFile("r", suffix=".raw") as raw:
        command = [found, "record", "-p", str(worker), "-d", str(SECONDS), "-r", "500",
                   "-f", "raw", "-o", raw.name, "-F"]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as sampler:
            while sampler.poll() is None:
                load(contestant.port, contestant.certs, ["--messages", "4000", *arguments])
        return _tables(Path(raw.name).read_text())


def _tables(stacks: str) -> str:
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = frames.split(";")
        if names[-1].startswith(WAITING):
            continue
        own[names[-1]] += int(count)
        ours = {name for name in names if "(relay/" in name or "(OpenSSL/" in name}
        within.update(dict.fromkeys(ours, int(count)))
    total = max(own.total(), 1)
    lines = []
    for title, counter in (("its own time", own), ("with all it calls", within)):
        lines += [f"\n{title}", "-" * len(title)]
        lines += [f"{n / total:6.1%}  {name}" for name, n in counter.most_common(40)]
    return "\n".join(lines)
