"""CPU and memory of a server with all its processes; it knows nothing of mail.

CPU comes from a cgroup of its own where the kernel lets us make one (then processes that have
ended count too), else from the sums of /proc over the tree.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_USAGE = {"cgroup2": ("cpu.stat", 1e6), "cgroup": ("cpuacct.usage", 1e9)}


class ProcessTree:
    """A server process with its children, started here, measured and stopped.

    Args:
        command: what to run; it has to stay in the foreground and end at SIGTERM.
        log: the file that gets what it prints.
        env: additions to the environment.
    """

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._group, self._usage, self._unit = _new_cgroup()
        if self._group is not None:
            enter = 'echo $$ > "$0" && exec "$@"'
            command = ["sh", "-c", enter, str(self._group / "cgroup.procs"), *command]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    @property
    def source(self) -> str:
        """Where the CPU figures come from, for the report."""
        return f"{self._usage.name} of a cgroup" if self._usage else "/proc of the tree"

    def pids(self) -> list[int]:
        """All processes of the tree that are alive."""
        if self._group is not None:
            return [int(pid) for pid in (self._group / "cgroup.procs").read_text().split()]
        found = [self.process.pid] if self.process.poll() is None else []
        for pid in found:  # grows while we walk it
            found += _children(pid)
        return found

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        if self._usage is None:
            return sum(_proc_cpu(pid) for pid in self.pids())
        text = self._usage.read_text().split()
        return int(text[1] if text[0] == "usage_usec" else text[0]) / self._unit

    def memory_kib(self) -> int:
        """Proportional set size of the tree."""
        return sum(_pss_kib(pid) for pid in self.pids())

    def settled_cpu(self, patience: float = 5.0) -> float:
        """`cpu()` once the tree has gone quiet."""
        last, calm, end = self.cpu(), 0, time.monotonic() + patience
        while calm < 2 and time.monotonic() < end:
            time.sleep(0.2)
            now = self.cpu()
            calm = calm + 1 if now - last < 0.003 else 0
            last = now
        return last

    def stop(self) -> None:
        """SIGTERM to the main process, SIGKILL to what is left of its tree after 15 seconds."""
        tree = self.pids()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in {*tree, *self.pids()}:
                _kill(pid)
            self.process.wait()
        if self._group is not None:
            _remove_cgroup(self._group)


def _new_cgroup() -> tuple[Path | None, Path | None, float]:
    mounts = [line.split()[:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for _, where, kind in mounts:
        if kind not in _USAGE:
            continue
        folder = Path(where) / f"gatepost-bench-{os.getpid()}-{time.monotonic_ns()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        name, unit = _USAGE[kind]
        if (folder / name).exists():
            return folder, folder / name, unit
        folder.rmdir()
    return None, None, 1.0


def _remove_cgroup(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:  # the last processes are still on their way out
            time.sleep(0.1)
        else:
            return


def _children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for t in threads for c in (t / "children").read_text().split()]
    except OSError:
        return []


def _proc_cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _pss_kib(pid: int) -> int:
    try:
        found = re.search(
            r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
        )
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
