"""The real relay as a process of its own: written, started, watched and stopped.

Knows the command line, the files and the signals, and nothing of the package's inside.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "relay.cli.main"]


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until(
    what: str | Callable[[], str], condition: Callable[[], Any], seconds: float = 20
) -> Any:
    """Return the first true value of `condition`; fail with `what` after some seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {seconds} s: {what if isinstance(what, str) else what()}"
            )
        time.sleep(0.02)
    return value


def answers(port: int) -> bool:
    """Whether an SMTP server greets on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as probe:
            return probe.recv(64).startswith(b"220")
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Whether a server listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def children(pid: int) -> list[int]:
    """Return the child processes of a process, none if it is gone."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split() if _is_alive(int(line))]


def holders(port: int) -> set[int]:
    """Return the processes that have a listening TCP socket of this IPv4 port (Linux only)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [line for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
    wanted = {f"socket:[{line[9]}]" for line in listening}
    return {pid for pid in _processes() if wanted & _open_files(pid)}


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _open_files(pid: int) -> set[str]:
    try:
        return {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it has just ended
        return set()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class RelayProcess:
    """`gatepost run` in a folder of its own.

    Args:
        folder: gets gatepost.toml, allowlist.toml and the state.
        settings: the configuration file as a table, or its text.
        allowlist: the text of the allowlist.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | str, allowlist: str) -> None:
        self.folder = folder
        self.config = folder / "gatepost.toml"
        self.state = folder / "state"
        self.write_settings(settings)
        self.write_allowlist(allowlist)
        self._process: subprocess.Popen[bytes] | None = None

    def write_settings(self, settings: Mapping[str, Any] | str) -> None:
        """Replace the configuration file; takes effect at a start or a reload."""
        text = settings if isinstance(settings, str) else tomlkit.dumps(settings)
        self.config.write_text(text)

    def write_allowlist(self, text: str) -> None:
        """Replace the allowlist; takes effect at a start or a reload."""
        new = self.folder / "allowlist.new"
        new.write_text(text)
        new.replace(self.folder / "allowlist.toml")  # nobody shall read half of it

    @property
    def ports(self) -> dict[str, int]:
        """The TCP port of each listener, by name."""
        listeners = tomlkit.parse(self.config.read_text()).unwrap()["listener"]
        return {each["name"]: int(each["address"].rpartition(":")[2]) for each in listeners}

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it, and wait until the first listener greets."""
        log = (self.folder / "relay.log").open("ab")
        self._process = subprocess.Popen(
            [*COMMAND, "run", "--config", str(self.config)],
            cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        wait_until("the relay is ready", lambda: self._ended() or self._is_ready())
        assert not self._ended(), f"the relay ended: {self.log()}"
        return self

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _is_ready(self) -> bool:
        first = tomlkit.parse(self.config.read_text()).unwrap()["listener"][0]
        if first.get("tls") == "implicit":  # it does not greet in the clear
            return accepts(self.port)
        return answers(self.port)

    def command(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `gatepost WORDS --config ...` beside it."""
        return subprocess.run(
            [*COMMAND, *words, "--config", str(self.config)],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def gatepost(self, *words: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `gatepost WORDS` as somebody else would, who has no configuration."""
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def reload(self) -> None:
        """Make it read its files again; returns once the new ones are in force."""
        done = self.command("reload")
        assert done.returncode == 0, done.stdout + done.stderr

    def workers(self) -> list[int]:
        """Return the processes that serve connections."""
        told = json.loads(self.command("status", "--json").stdout)
        return [each["pid"] for each in told["workers"]]

    def audit(self, **wanted: object) -> list[dict[str, Any]]:
        """Return the audit records whose fields have these values, oldest first."""
        path = self.state / "audit.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines]
        return [r for r in records if all(r.get(k) == v for k, v in wanted.items())]

    def wait_for_audit(self, **wanted: object) -> dict[str, Any]:
        """Return the first audit record with these values, once it is there."""
        found: list[dict[str, Any]] = wait_until(
            f"an audit record with {wanted}", lambda: self.audit(**wanted)
        )
        return found[0]

    def log(self) -> str:
        """Return what it has printed so far."""
        return (self.folder / "relay.log").read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 45) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def kill_supervisor(self) -> None:
        """SIGKILL to it alone: what becomes of the others is the test's question."""
        self.signal(signal.SIGKILL)
        self.wait()
        self._process = None

    def stop(self) -> None:
        """SIGTERM: it has to end well, and leave no process behind."""
        if self._process is None:
            return
        if self._process.poll() is None:
            processes = children(self.pid)
            self.signal(signal.SIGTERM)
            try:
                self.wait()
                wait_until("no process left", lambda: not any(map(_is_alive, processes)), 5)
            except BaseException:
                self._kill(processes)
                raise
        assert self._process.returncode == 0, f"{self._process.returncode}: {self.log()}"

    def _kill(self, processes: list[int]) -> None:
        for pid in [self.pid, *processes]:
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
