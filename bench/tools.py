"""The native load generator and sink as Python calls; builds nothing and judges nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parent / "build"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for_banner(port: int, process: subprocess.Popen[Any], seconds: float = 30) -> None:
    """Return once port answers 220.

    Raises:
        RuntimeError: the process ended, or the time has passed.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(5)
                if probe.recv(4)[:3] == b"220":
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers on port {port} (status {process.poll()})")


def load_command(port: int, certs: Path, arguments: list[str]) -> list[str]:
    identity = ["--cert", f"{certs}/client.pem", "--key", f"{certs}/client.key"]
    return [f"{BUILD}/smtp_load", "--port", str(port), *identity, *arguments]


def load(port: int, certs: Path, arguments: list[str]) -> dict[str, Any]:
    """Run smtp_load to its end and return what it measured."""
    command = load_command(port, certs, ["--pipelining", "--timeout", "240", *arguments])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=270, check=False)
    return json.loads(done.stdout.splitlines()[-1])


class Sink:
    """One smtp_sink process: takes every message at full speed and counts it."""

    def __init__(self, port: int, certs: Path, *options: str) -> None:
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(
            [f"{BUILD}/smtp_sink", "--port", str(port), "--quickack", *options,
             "--cert", f"{certs}/server.pem", "--key", f"{certs}/server.key"],
            stdout=self._out, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_banner(port, self.process)

    def stats(self) -> dict[str, Any]:
        """What it has counted since the last reset."""
        at = self._out.seek(0, os.SEEK_END)
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(2000):
            self._out.seek(at)
            if (text := self._out.read()).endswith("\n"):
                return json.loads(text.splitlines()[-1])
            time.sleep(0.002)
        raise RuntimeError("the sink does not answer")

    def reset(self) -> None:
        self.process.send_signal(signal.SIGUSR2)
        time.sleep(0.02)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._out.close()
