"""`gatepost status` and `gatepost reload`, against a relay that is a script."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from relay.cli.control import SOCKET_NAME, ask
from relay.cli.main import app
from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

STATUS = {
    "ok": True,
    "pid": 100,
    "hostname": "edge.example.org",
    "uptime_seconds": 93784.2,
    "generation": 3,
    "listeners": [
        {"name": "partners", "address": "[::]:25", "tls": "starttls", "client_certificate": "required"}
    ],
    "workers": [
        {
            "pid": 101, "generation": 3, "is_ready": True, "sessions": 7, "connections": 20,
            "handshakes_failed": 0, "refused": 4, "delivered": 15, "deferred": 1, "rejected": 2,
            "memory": 0,
        }
    ],
}  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a Unix socket may have 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="gp-"))
    (made / "gatepost.toml").write_text(
        'hostname = "edge.example.org"\n'
        '[[listener]]\nname = "a"\naddress = "127.0.0.1:2525"\n'
        'certificate = [{ chain = "a.pem", key = "a.key" }]\n'
        '[route."*"]\nhosts = ["127.0.0.1:2526"]\n'
    )
    (made / "state").mkdir()
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def relay(folder: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Answer one request with these bytes; gives what was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "state" / SOCKET_NAME))
        listening.listen()
        listening.settimeout(10)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(1000))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(folder / "gatepost.toml")])


def line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def test_status_shows_workers_and_listeners(folder: Path) -> None:
    with relay(folder, line(STATUS)) as asked:
        result = run(folder, "status")
    assert asked == [b'{"command": "status"}\n']
    assert result.exit_code == 0
    assert "edge.example.org: running for 1d 2h, process 100, configuration 3" in result.stdout
    assert "[::]:25" in result.stdout
    row = next(text.split() for text in result.stdout.splitlines() if text.split()[:1] == ["101"])
    assert row == ["101", "3", "7", "20", "15", "1", "2", "4"]


def test_status_in_json_is_the_relays_own_answer(folder: Path) -> None:
    with relay(folder, line(STATUS)):
        result = run(folder, "status", "--json")
    assert json.loads(result.stdout) == STATUS


def test_status_without_a_relay_is_exit_code_1(folder: Path) -> None:
    result = run(folder, "status")
    assert result.exit_code == 1
    assert "no relay is running" in result.output
    assert json.loads(run(folder, "status", "--json").stdout)["ok"] is False


def test_reload_says_what_is_in_force(folder: Path) -> None:
    with relay(folder, line({"ok": True, "generation": 4})) as asked:
        result = run(folder, "reload")
    assert asked == [b'{"command": "reload"}\n']
    assert (result.exit_code, result.stdout) == (0, "reloaded, configuration 4 is in force\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reload_that_was_not_taken_is_exit_code_2(folder: Path, as_json: bool) -> None:
    with relay(folder, line({"ok": False, "error": "a.toml:3: bad pin; use hex"})):
        result = run(folder, "reload", *["--json"] * as_json)
    assert result.exit_code == 2
    assert "a.toml:3: bad pin; use hex" in result.output


@pytest.mark.parametrize("answer", [b"", b"[]\n", b"garbage\n", b'{"ok": tr'])
def test_a_relay_that_answers_nothing_of_use_is_unavailable(folder: Path, answer: bytes) -> None:
    with relay(folder, answer), pytest.raises(Unavailable, match="no answer"):
        ask(folder / "state", "status")


def test_a_leftover_socket_is_no_relay(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(folder / "state" / SOCKET_NAME))
    with pytest.raises(Unavailable, match="no relay is running"):
        ask(folder / "state", "status")


def test_a_relay_that_hangs_is_given_up(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "state" / SOCKET_NAME))
        silent.listen()
        with pytest.raises(Unavailable, match="timed out"):
            ask(folder / "state", "status", timeout=0.05)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_socket_of_somebody_else_is_said_to_be(folder: Path) -> None:
    with relay(folder, b"") as asked:
        (folder / "state" / SOCKET_NAME).chmod(0)
        with pytest.raises(Unavailable, match="not permitted"):
            ask(folder / "state", "status")
        (folder / "state" / SOCKET_NAME).chmod(0o600)
        with contextlib.suppress(Unavailable):
            ask(folder / "state", "status")
    assert asked
