"""Asking the running relay: one JSON line each way over its control socket.

The other end is the supervisor's; see `supervisor.py`.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from relay.control import socket_address
from relay.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SOCKET_NAME", "ask"]

SOCKET_NAME = "control.sock"


def ask(state_dir: Path, command: str, timeout: float = 60) -> dict[str, Any]:
    """Send one command to the relay that uses this state folder; return its answer.

    Raises:
        Unavailable: no relay is running there, or it does not answer.
    """
    path = state_dir / SOCKET_NAME
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            with socket_address(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
    except PermissionError as error:
        raise Unavailable(f"{path}: not permitted; ask as root or as the relay's user") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Unavailable(f"no relay is running with the state folder {state_dir}") from error
    except OSError as error:
        raise Unavailable(f"{path}: {error}") from error
    return _parse(path, line)


def _parse(path: Path, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable(f"{path}: no answer; is the relay stopping?")
    return answer
