"""The processes beside the workers: which of them the settings ask for, and what each is forked with.

What one of them does stands in its own file; how they are replaced when they die, in `side_process.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from relay.child_process import become
from relay.doctor_process import make_rounds
from relay.http_process import HttpProcess, HttpSide, http_addresses
from relay.keeper_process import KeeperProcess, keep
from relay.report_process import ReportProcess, report
from relay.side_process import SideProcess
from relay.state_process import StateProcess, keep_up_state

if TYPE_CHECKING:
    import selectors
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from relay.generation import Generation
    from relay.net.tally import Tally

__all__ = ["SideCrew"]


class SideCrew:
    """All of them, of one supervisor.

    Attributes:
        keeper: keeps revocation lists and OCSP answers.
        http: publishes lists and figures.
        reports: sends DMARC reports.

    Args:
        selector: the supervisor's; its keys' data are called with the file object.
        tally: for the doctor's figures, and for all figures over HTTP.
        doctor_slot: the doctor's row of it.
        environ: may hold the passphrase of the CA's key.
        current: says what is in force.
        let_go: called in each child: lets go of all that is its parent's, but of these sockets.
        hear_keeper: called with each message of the keeper.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        tally: Tally,
        doctor_slot: int,
        environ: Mapping[str, str],
        *,
        current: Callable[[], Generation],
        let_go: Callable[[Iterable[list[socket.socket]]], None],
        hear_keeper: Callable[[dict[str, Any]], None],
    ) -> None:
        self._tally = tally
        self._doctor_slot = doctor_slot
        self._environ = environ
        self._current = current
        self._let_go = let_go
        self.keeper = KeeperProcess(selector, self._become_keeper, hear_keeper)
        self.http = HttpProcess(selector, self._become_http)
        self.reports = ReportProcess(selector, self._become_reports)
        self._state = StateProcess(selector, self._become_state)
        self._doctor = SideProcess("doctor", selector, self._become_doctor, lambda _: None)
        self._all = (self.keeper, self.http, self._state, self.reports, self._doctor)

    def start(self) -> None:
        """Fork anew those that the settings ask for, and end the others."""
        settings = self._current().settings
        self._doctor.stop()
        self._tally.wipe(self._doctor_slot)  # the figures of domains that are no longer watched
        wanted = {
            self.keeper: True,
            self.http: any(http_addresses(settings)),
            self._state: settings.state.kind == "sqlite",
            self.reports: settings.dmarc_reports.enabled,
            self._doctor: bool(settings.doctor.domains),
        }
        for process, is_wanted in wanted.items():
            if is_wanted:
                process.start()
            else:
                process.stop()

    def tick(self) -> None:
        """Replace the dead."""
        for process in self._all:
            process.tick()

    def reopen(self) -> None:
        """Have those that write to the audit trail go on in a new file."""
        for process in (self.http, self._doctor):
            process.order({"order": "reopen"})

    def close(self) -> None:
        """Let go of their sockets: in another child, they are the parent's."""
        for process in self._all:
            process.close()

    def finish(self) -> None:
        """End all of them."""
        for process in self._all:
            if process is not self.http:
                process.stop()
        self.http.finish()

    # --- in the child ---------------------------------------------------------------------------

    def _become(
        self,
        work: Callable[[Generation], Coroutine[Any, Any, None]],
        sockets: Callable[[Generation], Mapping[str, list[socket.socket]]] = lambda _: {},
    ) -> NoReturn:
        def begin() -> Coroutine[Any, Any, None]:
            current = self._current()
            self._let_go(sockets(current).values())
            return work(current)

        become(begin, self._current().settings.user)

    def _become_keeper(self, control: socket.socket) -> NoReturn:
        self._become(lambda current: keep(current.material, control))

    def _become_http(self, control: socket.socket) -> NoReturn:
        def work(current: Generation) -> Coroutine[Any, Any, None]:
            side = HttpSide(current.material, self._tally, self._environ)
            return side.run(_http_sockets(current), control)

        self._become(work, _http_sockets)

    def _become_state(self, control: socket.socket) -> NoReturn:
        self._become(lambda current: keep_up_state(current.settings, control))

    def _become_reports(self, control: socket.socket) -> NoReturn:
        self._become(lambda current: report(current.material, current.blueprint.routes, control))

    def _become_doctor(self, control: socket.socket) -> NoReturn:
        def work(current: Generation) -> Coroutine[Any, Any, None]:
            row = self._tally.row(self._doctor_slot)
            return make_rounds(current.material, current.blueprint.routes, row, control)

        self._become(work)


def _http_sockets(current: Generation) -> dict[str, list[socket.socket]]:
    """What the HTTP process listens on, by address."""
    return {each: current.sockets[each] for _, each in http_addresses(current.settings)}
