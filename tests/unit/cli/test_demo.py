"""`gatepost demo` as a user starts it: five clients, the right replies, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "relay.cli.main", "demo"]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    ended = subprocess.run(
        [*COMMAND, "--json"], capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return {**json.loads(ended.stdout), "left": list(folder.iterdir())}


@pytest.mark.parametrize(
    ("case", "outcome", "reply"),
    [
        ("pinned certificate", "delivered", "250 "),
        ("certificate not pinned", "refused", "421 4.7.1 "),
        ("no certificate", "refused", "421 4.7.1 "),
        ("plaintext", "refused", "530 5.7.0 "),
        ("wrong sender domain", "refused", "550 5.7.1 "),
    ],
)
def test_each_client_fares_as_it_should(
    demonstration: dict[str, Any], case: str, outcome: str, reply: str
) -> None:
    (found,) = [each for each in demonstration["cases"] if each["case"] == case]
    assert found["outcome"] == outcome
    assert found["reply"].startswith(reply)
    assert found["audit"]["reference"] == found["reference"]
    assert found["audit"]["reply"] == found["reply"]
    assert found["is_as_expected"]


def test_nothing_is_left_on_disk(demonstration: dict[str, Any]) -> None:
    assert demonstration["left"] == []


def test_kept_it_says_where_everything_is_and_ends_cleanly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--keep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output:
        said = ""
        for line in output:
            said += line
            if "Ctrl-C ends it" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, process.stderr.read()
    for word in ("gatepost send", "swaks", "openssl s_client", "curl", "acme-billing.pem"):
        assert word in said
    assert list(tmp_path.iterdir()) == []
