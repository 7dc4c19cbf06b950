"""The worker processes as their parent sees them: forked, heard, ordered about, mourned.

Each has a socket pair for JSON lines both ways and a row of the tally. What a worker does, and when
one is forked, is not known here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from relay.child_process import ChildProcess, fork_child

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from relay.net.tally import Tally

__all__ = ["Crew", "WorkerProcess"]


@dataclass(kw_only=True)
class WorkerProcess(ChildProcess):
    """One worker."""

    slot: int
    generation: int
    is_ready: bool = False


class Crew:
    """All workers of all generations.

    Args:
        selector: the supervisor's; its keys' data are called with the file object.
        tally: has a row for each worker that may live at the same time.
        hear: called with each message of a worker.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        tally: Tally,
        hear: Callable[[WorkerProcess, dict[str, object]], None],
    ) -> None:
        self._selector = selector
        self._tally = tally
        self._hear = hear
        self._free_slots = list(range(tally.slots))
        self._workers: dict[int, WorkerProcess] = {}

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def has_room(self) -> bool:
        """Whether another worker can be forked."""
        return bool(self._free_slots)

    @property
    def workers(self) -> list[WorkerProcess]:
        """All that live, the oldest generation first."""
        return sorted(self._workers.values(), key=lambda worker: (worker.generation, worker.pid))

    def of(self, generation: int) -> list[WorkerProcess]:
        """Those of one generation."""
        return [worker for worker in self.workers if worker.generation == generation]

    def reserve_slot(self) -> int:
        """Return a row of the tally that no worker will get."""
        return self._free_slots.pop()

    def fork(self, generation: int, become: Callable[[int, socket.socket], NoReturn]) -> None:
        """Fork a worker; the child calls `become` with its slot and its end of the socket pair."""
        slot = self._free_slots.pop(0)
        self._tally.wipe(slot)

        def start(control: socket.socket) -> NoReturn:
            self.close()
            become(slot, control)

        pid, control = fork_child(start)
        worker = WorkerProcess(pid=pid, control=control, slot=slot, generation=generation)
        self._workers[pid] = worker
        self._selector.register(control, selectors.EVENT_READ, lambda _: self._read(worker))

    def close(self) -> None:
        """Let go of all workers' sockets: in a child, they are its parent's."""
        for worker in self._workers.values():
            worker.control.close()

    def order(self, worker: WorkerProcess, order: dict[str, object]) -> None:
        """Tell a worker something."""
        worker.order(order)

    def order_all(self, order: dict[str, object]) -> None:
        """Tell all workers something."""
        for worker in self.workers:
            self.order(worker, order)

    def kill(self, workers: list[WorkerProcess]) -> None:
        """End workers at once."""
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)

    def reap(self) -> list[tuple[WorkerProcess, int]]:
        """Bury the dead; return them with their exit codes (negative: the signal)."""
        dead = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            worker = self._workers.pop(pid, None)
            if worker is not None:
                self._close(worker)
                self._tally.wipe(worker.slot)
                self._free_slots.append(worker.slot)
                dead.append((worker, os.waitstatus_to_exitcode(status)))
        return dead

    def _read(self, worker: WorkerProcess) -> None:
        """Read a worker's messages; at the end of the stream it is gone (SIGCHLD follows)."""
        messages = worker.receive()
        if messages is None:
            self._close(worker)
            return
        for message in messages:
            self._hear(worker, message)

    def _close(self, worker: WorkerProcess) -> None:
        """Close what may be closed already: one round can bring an end of stream and a SIGCHLD."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.control)
        worker.control.close()
