"""The parent process: opens sockets, forks workers, replaces dead ones, reloads, drains.

Theory of operation. The supervisor runs no event loop of a library and starts no thread, so it can
fork at any time. It waits in one selector for signals, worker messages and control requests.

A reload makes everything anew from the files: if that fails, nothing has changed and the error is
told. If it works, a new generation of workers is forked with the same listening sockets; once all
of them are ready the old ones retire: they accept no more and let their sessions end by
themselves. No connection drops, and since the TLS contexts are made before the fork, session
tickets work in every worker. A change of the allowlist alone is handed to the living workers.

Knows nothing of SMTP and TLS.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import structlog

from relay import config
from relay.app import Worker
from relay.audit.applog import configure_logging
from relay.audit.log import AuditLog
from relay.blueprint import Blueprint, build
from relay.child_process import HANDLED_SIGNALS, become
from relay.control import Caller, ControlServer, ReloadCallers
from relay.crew import Crew, WorkerProcess
from relay.doctor_process import make_rounds
from relay.errors import ConfigurationError, Unavailable
from relay.http_process import HttpProcess, HttpSide, http_addresses
from relay.keeper_process import KeeperProcess, keep
from relay.live_files import LiveFiles, trust_orders
from relay.material import load_material
from relay.net.notify import Notifier
from relay.net.tally import Tally
from relay.preparation import (
    check_staples,
    check_user,
    close_all,
    open_listeners,
    prepare_state,
    prepare_store,
    raise_descriptor_limit,
)
from relay.report_process import ReportProcess, report
from relay.side_process import SideProcess
from relay.state_process import StateProcess, keep_up_state
from relay.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from pathlib import Path

    from relay.settings import Settings

__all__ = ["Supervisor"]

log = structlog.get_logger("gatepost")

TICK_SECONDS = 0.25
"""How often files, restarts and the watchdog are looked at."""
LONG_LIFE_SECONDS = 10.0
"""A worker that lived longer is replaced at once; one that dies young, with a growing delay."""
MAX_RESTART_DELAY_SECONDS = 30.0
MAX_INTERMEDIATES = 1000
MAX_PREPARATION_SECONDS = 30.0
"""How long workers wait for revocation lists to be read before they are forked without."""


class _Previous(NamedTuple):
    """What is in force until the workers of a new generation are ready."""

    configuration: config.Configuration
    blueprint: Blueprint
    sockets: dict[str, list[socket.socket]]


class Supervisor:
    """See the module's theory of operation.

    Args:
        path: the configuration file.
        environ: the environment, for `GATEPOST_*` overrides.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._configuration: config.Configuration
        self._blueprint: Blueprint
        self._sockets: dict[str, list[socket.socket]] = {}
        self._tally: Tally
        self._crew: Crew
        self._generation = 0
        self._previous: _Previous | None = None
        self._intermediates: list[str] = []
        self._keeper: KeeperProcess
        self._http: HttpProcess
        self._state: StateProcess
        self._reports: ReportProcess
        self._doctor: SideProcess
        self._doctor_slot: int
        self._crl_sources: list[object] = []
        self._reload_callers = ReloadCallers(self.reload)
        self._restart_at: float | None = None
        self._restart_delay = 1.0
        self._is_preparing = False
        self._is_stopping = False
        self._stop_at = 0.0
        self._started = time.monotonic()
        self._files: LiveFiles
        self._configuration_watch: FileWatch
        self._selector = selectors.DefaultSelector()
        self._control: ControlServer
        self._notifier = Notifier(environ)

    @property
    def _settings(self) -> Settings:
        return self._configuration.settings

    # --- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until stopped by a signal; return the exit code.

        Raises:
            ConfigurationError: the start is impossible; nothing has been started.
        """
        self._configuration, self._blueprint = self._load()
        configure_logging(self._settings.log)
        check_user(self._configuration)
        raise_descriptor_limit(self._configuration)
        self._sockets = open_listeners(self._configuration, {})
        self._control = prepare_state(
            self._configuration, lambda path: ControlServer(path, self._selector, self._serve)
        )
        prepare_store(self._configuration)
        self._audit = AuditLog(
            self._settings.audit.path, sync="second", node=self._settings.hostname
        )
        self._put_on_record("start")
        # Up to three old generations may still be ending.
        self._tally = Tally(4 * self._worker_count() + 5)
        self._crew = Crew(self._selector, self._tally, self._hear)
        self._install_signals()
        self._keeper = KeeperProcess(self._selector, self._become_keeper, self._hear_keeper)
        self._http = HttpProcess(self._selector, self._become_http)
        self._state = StateProcess(self._selector, self._become_state)
        self._reports = ReportProcess(self._selector, self._become_reports)
        self._doctor_slot = self._crew.reserve_slot()
        self._doctor = SideProcess("doctor", self._selector, self._become_doctor, lambda _: None)
        self._watch()
        try:
            self._prepare_workers()
            while len(self._crew) or not self._is_stopping:
                self._wait()
        finally:
            self._clean_up()
        return 0

    def _load(self) -> tuple[config.Configuration, Blueprint]:
        configuration = config.load(self._path, self._environ)
        return configuration, build(load_material(configuration))

    def _worker_count(self) -> int:
        if hasattr(os, "sched_getaffinity"):  # Linux: the cores we may use, not all there are
            cores = len(os.sched_getaffinity(0))
        else:
            cores = os.cpu_count() or 1
        return self._settings.workers or cores

    def _install_signals(self) -> None:
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)  # noqa: FBT003
        sender.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        self._signal_sockets = (receiver, sender)
        for number in HANDLED_SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(receiver, selectors.EVENT_READ, self._read_signals)

    def _put_on_record(self, action: str, **fields: object) -> None:
        """One line in the audit trail for what the operator did."""
        try:
            self._audit.record(
                "admin", {"action": action, "target": os.fspath(self._path)} | fields
            )
        except Unavailable as error:
            log.error("administrative act not recorded", action=action, error=str(error))

    def _clean_up(self) -> None:
        self._keeper.stop()
        self._state.stop()
        self._reports.stop()
        self._doctor.stop()
        self._http.finish()
        self._put_on_record("stop")
        for listening in self._sockets.values():
            close_all(listening)
        self._control.close()
        signal.set_wakeup_fd(-1)
        log.info("stopped")

    # --- the loop --------------------------------------------------------------------------

    def _wait(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            key.data(key.fileobj)
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        self._notifier.watchdog()
        self._tell_http()
        if self._is_stopping:
            if now >= self._stop_at:
                self._crew.kill(self._crew.workers)
            return
        self._keeper.tick()
        self._http.tick()
        self._state.tick()
        self._reports.tick()
        self._doctor.tick()
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self._fill_up()
        self._look_at_files()

    def _read_signals(self, receiver: socket.socket) -> None:
        for number in receiver.recv(256):
            match number:
                case signal.SIGCHLD:
                    for worker, code in self._crew.reap():
                        self._worker_died(worker, code)
                case signal.SIGTERM | signal.SIGINT:
                    self._stop()
                case signal.SIGHUP:
                    self.reload()
                case signal.SIGUSR1:
                    self._reopen()
                case _:
                    pass

    def _reopen(self) -> None:
        """Have all who write to the audit trail go on in a new file."""
        self._crew.order_all({"order": "reopen"})
        self._http.order({"order": "reopen"})
        self._doctor.order({"order": "reopen"})
        self._audit.reopen()

    def _stop(self) -> None:
        if self._is_stopping:
            self._crew.kill(self._crew.workers)  # asked twice: now
            return
        self._is_stopping = True
        drain = self._settings.timeouts.drain.total_seconds()
        self._stop_at = time.monotonic() + drain + 5
        self._notifier.stopping()
        log.info("stopping", drain_seconds=drain)
        self._crew.order_all({"order": "drain"})

    # --- workers ---------------------------------------------------------------------------

    def _prepare_workers(self) -> None:
        """Have the configuration's revocation lists read first: nobody revoked slips in meanwhile."""
        self._is_preparing = True
        self._restart_at = time.monotonic() + MAX_PREPARATION_SECONDS
        self._start_side_processes()

    def _start_side_processes(self) -> None:
        self._keeper.start()
        if any(http_addresses(self._settings)):
            self._http.start()
        else:
            self._http.stop()
        if self._settings.state.kind == "sqlite":
            self._state.start()
        else:
            self._state.stop()
        if self._settings.dmarc_reports.enabled:
            self._reports.start()
        else:
            self._reports.stop()
        self._doctor.stop()
        self._tally.wipe(self._doctor_slot)  # the figures of domains that are no longer watched
        if self._settings.doctor.domains:
            self._doctor.start()

    def _fill_up(self) -> None:
        """Fork what is missing of the current generation."""
        if self._is_preparing and not self._is_prepared():
            return
        for _ in range(self._worker_count() - len(self._crew.of(self._generation))):
            if not self._crew.has_room:
                self._crew.order(self._crew.workers[0], {"order": "drain"})
                self._restart_at = time.monotonic() + 1
                return
            self._crew.fork(self._generation, self._become_worker)

    def _is_prepared(self) -> bool:
        """Whether workers can begin, the keeper having done what it can; a reload is given up if not."""
        self._is_preparing = False
        shown_until = self._keeper.shown_until()
        try:
            check_staples(self._configuration, self._blueprint.material, shown_until, time.time())
        except ConfigurationError as error:
            if self._previous is None:
                raise
            self._abandon_reload(self._previous, str(error))
            return False
        return True

    def _become_worker(self, slot: int, control: socket.socket) -> NoReturn:
        """The child's side of the fork."""

        def begin() -> Coroutine[Any, Any, None]:
            by_name = {
                listener.name: self._sockets[listener.address]
                for listener in self._settings.listener
            }
            self._let_go(by_name.values())
            row = self._tally.row(slot)
            return Worker(
                self._blueprint,
                by_name,
                row,
                control,
                self._intermediates,
                knowledge=self._keeper.knowledge(),
            ).run()

        become(begin, self._settings.user)

    def _become_keeper(self, control: socket.socket) -> NoReturn:
        """The same for the process that keeps the revocation lists."""

        def begin() -> Coroutine[Any, Any, None]:
            self._let_go(())
            return keep(self._blueprint.material, control)

        become(begin, self._settings.user)

    def _become_http(self, control: socket.socket) -> NoReturn:
        """The same for the process that speaks HTTP."""

        def begin() -> Coroutine[Any, Any, None]:
            mine = {each: self._sockets[each] for _, each in http_addresses(self._settings)}
            self._let_go(mine.values())
            return HttpSide(self._blueprint.material, self._tally, self._environ).run(mine, control)

        become(begin, self._settings.user)

    def _become_state(self, control: socket.socket) -> NoReturn:
        """The same for the process that does the upkeep of the state."""

        def begin() -> Coroutine[Any, Any, None]:
            self._let_go(())
            return keep_up_state(self._settings, control)

        become(begin, self._settings.user)

    def _become_reports(self, control: socket.socket) -> NoReturn:
        """The same for the process that sends reports."""

        def begin() -> Coroutine[Any, Any, None]:
            self._let_go(())
            return report(self._blueprint.material, self._blueprint.routes, control)

        become(begin, self._settings.user)

    def _become_doctor(self, control: socket.socket) -> NoReturn:
        """The same for the process that examines domains."""

        def begin() -> Coroutine[Any, Any, None]:
            self._let_go(())
            row = self._tally.row(self._doctor_slot)
            return make_rounds(self._blueprint.material, self._blueprint.routes, row, control)

        become(begin, self._settings.user)

    def _let_go(self, kept: Iterable[list[socket.socket]]) -> None:
        """In a child: of all that is its parent's or another child's, but for these sockets."""
        self._selector.close()
        self._control.close(is_child=True)
        close_all(self._signal_sockets)
        side = (self._keeper, self._http, self._state, self._reports, self._doctor)
        for processes in (self._crew, *side):
            processes.close()
        mine = {each for listening in kept for each in listening}
        previous = self._previous.sockets if self._previous is not None else {}
        for listening in (*self._sockets.values(), *previous.values()):
            close_all(each for each in listening if each not in mine)

    def _tell_http(self) -> None:
        """Tell it, if it is there, who takes mail: until new workers are ready, the old ones do."""
        serving = [
            worker
            for worker in self._crew.workers
            if worker.is_ready and (worker.generation == self._generation or self._previous)
        ]
        self._http.tell(
            {
                "ready_workers": len(serving),
                "wanted_workers": self._worker_count(),
                "generation": self._generation,
                "is_stopping": self._is_stopping,
            }
        )

    def _hear(self, worker: WorkerProcess, message: dict[str, object]) -> None:
        match message["event"]:
            case "ready":
                worker.is_ready = True
                self._worker_ready()
            case "intermediate":
                self._share_intermediate(str(message["certificate"]))
            case "want":
                self._keeper.want(message)
            case "ask":
                self._keeper.ask(message)
            case "counted":
                self._reports.take(message)

    def _hear_keeper(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "ready":
                if not self._is_stopping:
                    self._restart_at = None
                    self._fill_up()
            case "revocation":
                self._crl_sources = message["sources"]
                self._crew.order_all({"order": "revocation"})
            case "ocsp":
                self._crew.order_all(self._keeper.take_news(message["news"]))
            case "staple":
                self._crew.order_all(self._keeper.take_staple(message))

    def _share_intermediate(self, certificate: str) -> None:
        """Tell all workers of a CA certificate: who resumes a session sends its own only."""
        if certificate in self._intermediates or len(self._intermediates) >= MAX_INTERMEDIATES:
            return
        self._intermediates.append(certificate)
        self._crew.order_all({"order": "intermediate", "certificate": certificate})

    def _worker_ready(self) -> None:
        current = self._crew.of(self._generation)
        if len(current) < self._worker_count() or not all(w.is_ready for w in current):
            return
        self._restart_delay = 1.0
        older = [w for w in self._crew.workers if w.generation != self._generation]
        if self._previous is not None:
            for order in trust_orders(self._blueprint):
                for worker in older:
                    self._crew.order(worker, order)
            for address, listening in self._previous.sockets.items():
                if address not in self._sockets:
                    close_all(listening)
            self._previous = None
            self._put_on_record("reload")
        for worker in older:
            self._crew.order(worker, {"order": "retire"})
        self._notifier.ready()
        log.info("ready", workers=len(current), generation=self._generation)
        self._reload_callers.answer({"ok": True, "generation": self._generation})

    def _worker_died(self, worker: WorkerProcess, code: int) -> None:
        if self._is_stopping or worker.generation != self._generation:
            return
        log.error("worker died", pid=worker.pid, exit_code=code)
        if not worker.is_ready and self._previous is not None:
            self._abandon_reload(self._previous, "a new worker failed to start; see the log")
            return
        delay = 0.0
        if time.monotonic() - worker.started < LONG_LIFE_SECONDS:
            delay = self._restart_delay
            self._restart_delay = min(2 * delay, MAX_RESTART_DELAY_SECONDS)
        self._restart_at = time.monotonic() + delay

    # --- reload ----------------------------------------------------------------------------

    def reload(self) -> str | None:
        """Make everything anew from the files; return the error if the old one stays in force."""
        if self._previous is not None:
            return "a reload is under way; try again in a moment"
        self._watch()
        try:
            configuration, blueprint = self._load()
            sockets = open_listeners(configuration, self._sockets)
        except ConfigurationError as error:
            mistakes = [str(mistake) for mistake in (error, *error.others)]
            log.error("reload refused, the old configuration stays in force", mistakes=mistakes)
            return "\n".join(mistakes)
        self._notifier.reloading()
        self._previous = _Previous(self._configuration, self._blueprint, self._sockets)
        self._configuration, self._blueprint, self._sockets = configuration, blueprint, sockets
        self._generation += 1
        self._watch()
        log.info("reloading", generation=self._generation)
        self._prepare_workers()
        return None

    def _abandon_reload(self, previous: _Previous, problem: str) -> None:
        """A new worker died before it was ready, say: the old generation serves on."""
        self._previous = None
        self._crew.kill(self._crew.of(self._generation))
        for address, listening in self._sockets.items():
            if address not in previous.sockets:
                close_all(listening)
        self._configuration, self._blueprint = previous.configuration, previous.blueprint
        self._sockets = previous.sockets
        older = [w.generation for w in self._crew.workers if w.generation < self._generation]
        self._generation = max(older, default=self._generation + 1)
        self._restart_at = time.monotonic() + 1
        self._start_side_processes()
        log.error("reload failed, the old workers go on", problem=problem)
        self._reload_callers.answer({"ok": False, "error": problem})

    def _watch(self) -> None:
        """Remember the state of all files that the configuration names."""
        allowlist = self._settings.allowlist
        self._files = LiveFiles(self._blueprint, self._crew.order_all, self._put_on_record)
        self._configuration_watch = FileWatch(
            path for path in self._configuration.files() if path != allowlist
        )

    def _look_at_files(self) -> None:
        if self._configuration_watch.has_changed():
            log.info("configuration changed on disk")
            self.reload()
        else:
            self._files.look()
            self._blueprint = self._files.blueprint

    # --- gatepost status, gatepost reload -----------------------------------------------------

    def _serve(self, command: str, caller: Caller) -> None:
        if command == "status":
            caller.answer(self.status())
        elif command == "reload":
            self._reload_callers.ask(caller, is_busy=self._previous is not None)
        else:
            caller.answer({"ok": False, "error": "unknown command"})

    def status(self) -> dict[str, object]:
        """What `gatepost status` shows."""
        return {
            "ok": True,
            "pid": os.getpid(),
            "hostname": self._settings.hostname,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "generation": self._generation,
            "listeners": [
                {
                    "name": listener.name,
                    "address": listener.address,
                    "tls": listener.tls,
                    "client_certificate": listener.client_certificate,
                }
                for listener in self._settings.listener
            ],
            "workers": [
                {
                    "pid": worker.pid,
                    "generation": worker.generation,
                    "is_ready": worker.is_ready,
                    **self._tally.snapshot(worker.slot),
                }
                for worker in self._crew.workers
            ],
            "crl_sources": self._crl_sources,
            "ocsp": self._keeper.ocsp_state(),
        }
