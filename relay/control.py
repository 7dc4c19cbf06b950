"""The control socket: `gatepost status` and `gatepost reload` ask here, one JSON line each way.

A Unix socket in the state folder, mode 0600: whoever may open it may ask. Lives in the supervisor's
selector; what a command does is the supervisor's business.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Caller", "ControlServer", "ReloadCallers", "socket_address"]

_MAX_REQUEST_BYTES = 4096
_ANSWER_SECONDS = 1.0
_MAX_ADDRESS_BYTES = 100  # sockaddr_un holds 108 on Linux, 104 on macOS


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give the address of a Unix socket, whose path may be longer than an address can be."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield os.fspath(path)
    else:
        with contextlib.chdir(path.parent):
            yield path.name


class Caller:
    """Who has asked something and waits for the answer."""

    def __init__(self, server: ControlServer, connection: socket.socket) -> None:
        self._server = server
        self.connection = connection
        self.inbox = bytearray()

    def answer(self, answer: Mapping[str, object]) -> None:
        """Answer and hang up; to somebody who has gone this does nothing."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(answer).encode() + b"\n")
        self._server.hang_up(self)


class ControlServer:
    """Listens, reads requests and hands them on.

    Args:
        path: where the socket is made; one that nobody serves any more is replaced.
        selector: the supervisor's; its keys' data are called with the file object.
        serve: called with the command's name and the caller, who must be answered some time.

    Raises:
        BlockingIOError: somebody serves this socket.
        OSError: it can't be made.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        serve: Callable[[str, Caller], None],
    ) -> None:
        self._path = path
        self._selector = selector
        self._serve = serve
        self._socket = _listen(path)
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def close(self, *, is_child: bool = False) -> None:
        """Stop; a forked child only lets go of its copy."""
        if not is_child:
            self._selector.unregister(self._socket)
            self._path.unlink(missing_ok=True)
        self._socket.close()

    def hang_up(self, caller: Caller) -> None:
        """Close a caller's connection."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(caller.connection)
        caller.connection.close()

    def _accept(self, _: socket.socket) -> None:
        try:
            connection, _address = self._socket.accept()
        except OSError:
            return
        connection.settimeout(_ANSWER_SECONDS)
        caller = Caller(self, connection)
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._read(caller))

    def _read(self, caller: Caller) -> None:
        try:
            data = caller.connection.recv(_MAX_REQUEST_BYTES)
        except OSError:
            data = b""
        caller.inbox += data
        if not data or len(caller.inbox) > _MAX_REQUEST_BYTES:
            self.hang_up(caller)
        elif b"\n" in caller.inbox:
            self._selector.unregister(caller.connection)
            self._serve(_command(caller.inbox), caller)


class ReloadCallers:
    """Who has asked for a reload and waits for its end; one reload at a time, whoever asks.

    Args:
        reload: begins one; returns the error if nothing has begun.
    """

    def __init__(self, reload: Callable[[], str | None]) -> None:
        self._reload = reload
        self._waiting: list[Caller] = []
        self._next: list[Caller] = []

    def ask(self, caller: Caller, *, is_busy: bool) -> None:
        """Reload for a caller; after the one under way, if there is one."""
        if is_busy:
            self._next.append(caller)
        else:
            self._begin([caller])

    def answer(self, answer: Mapping[str, object]) -> None:
        """Tell how a reload has ended, and begin the one that was asked for meanwhile."""
        for caller in self._waiting:
            caller.answer(answer)
        self._waiting.clear()
        if self._next:
            callers, self._next = self._next, []
            self._begin(callers)

    def _begin(self, callers: list[Caller]) -> None:
        error = self._reload()
        if error is None:
            self._waiting += callers  # until the new workers are ready
            return
        for caller in callers:
            caller.answer({"ok": False, "error": error})


def _command(request: bytes | bytearray) -> str:
    """Return the command of a request; "" if it makes no sense."""
    try:
        return str(json.loads(request)["command"])
    except (ValueError, KeyError, TypeError):
        return ""


def _listen(path: Path) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            with socket_address(path) as address:
                probe.connect(address)
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise BlockingIOError("somebody serves this socket")
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        with socket_address(path) as address:
            listening.bind(address)
    finally:
        os.umask(mask)
    listening.listen(16)
    listening.setblocking(False)  # noqa: FBT003  the socket module's own signature
    return listening
