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
import time
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from relay.app import Worker
from relay.audit.applog import configure_logging
from relay.audit.log import AuditLog
from relay.child_process import HANDLED_SIGNALS, become
from relay.control import Caller, ControlServer, ReloadCallers
from relay.crew import Crew, WorkerProcess
from relay.errors import ConfigurationError, Unavailable
from relay.generation import Generation, load
from relay.live_files import LiveFiles, trust_orders
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
    worker_count,
)
from relay.side_crew import SideCrew
from relay.signal_socket import SignalSocket
from relay.status import readiness, status
from relay.watch import FileWatch

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Iterable, Iterator, Mapping
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


class Supervisor:
    """See the module's theory of operation.

    Args:
        path: the configuration file.
        environ: the environment, for `GATEPOST_*` overrides.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._current: Generation
        self._previous: Generation | None = None
        """In force until all workers of the current one are ready."""
        self._tally: Tally
        self._crew: Crew
        self._side: SideCrew
        self._intermediates: list[str] = []
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
        self._signals: SignalSocket
        self._control: ControlServer
        self._notifier = Notifier(environ)

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    # --- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until stopped by a signal; return the exit code.

        Raises:
            ConfigurationError: the start is impossible; nothing has been started.
        """
        configuration, blueprint = load(self._path, self._environ)
        configure_logging(configuration.settings.log)
        check_user(configuration)
        raise_descriptor_limit(configuration)
        sockets = open_listeners(configuration, {})
        self._current = Generation(0, configuration, blueprint, sockets)
        self._control = prepare_state(
            configuration, lambda path: ControlServer(path, self._selector, self._serve)
        )
        prepare_store(configuration)
        self._audit = AuditLog(
            self._settings.audit.path, sync="second", node=self._settings.hostname
        )
        self._put_on_record("start")
        # Up to three old generations may still be ending.
        self._tally = Tally(4 * worker_count(self._settings) + 5)
        self._crew = Crew(self._selector, self._tally, self._hear)
        self._signals = SignalSocket(self._selector, HANDLED_SIGNALS, self._hear_signal)
        self._side = SideCrew(
            self._selector,
            self._tally,
            self._crew.reserve_slot(),
            self._environ,
            current=lambda: self._current,
            let_go=self._let_go,
            hear_keeper=self._hear_keeper,
        )
        self._watch()
        try:
            self._prepare_workers()
            while len(self._crew) or not self._is_stopping:
                self._wait()
        finally:
            self._clean_up()
        return 0

    def _put_on_record(self, action: str, **fields: object) -> None:
        """One line in the audit trail for what the operator did."""
        try:
            self._audit.record(
                "admin", {"action": action, "target": os.fspath(self._path)} | fields
            )
        except Unavailable as error:
            log.error("administrative act not recorded", action=action, error=str(error))

    def _clean_up(self) -> None:
        self._side.finish()
        self._put_on_record("stop")
        self._current.close_sockets()
        self._control.close()
        self._signals.close()
        log.info("stopped")

    # --- the loop --------------------------------------------------------------------------

    def _wait(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            key.data(key.fileobj)
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        self._notifier.watchdog()
        self._side.http.tell(
            readiness(
                self._crew,
                self._current,
                wanted_workers=worker_count(self._settings),
                is_reloading=self._previous is not None,
                is_stopping=self._is_stopping,
            )
        )
        if self._is_stopping:
            if now >= self._stop_at:
                self._crew.kill(self._crew.workers)
            return
        self._side.tick()
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self._fill_up()
        self._look_at_files()

    def _hear_signal(self, number: int) -> None:
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
        self._side.reopen()
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
        self._side.start()

    def _fill_up(self) -> None:
        """Fork what is missing of the current generation."""
        if self._is_preparing and not self._is_prepared():
            return
        for _ in range(worker_count(self._settings) - len(self._crew.of(self._current.number))):
            if not self._crew.has_room:
                self._crew.order(self._crew.workers[0], {"order": "drain"})
                self._restart_at = time.monotonic() + 1
                return
            self._crew.fork(self._current.number, self._become_worker)

    def _is_prepared(self) -> bool:
        """Whether workers can begin, the keeper having done what it can; a reload is given up if not."""
        self._is_preparing = False
        current, shown_until = self._current, self._side.keeper.shown_until()
        try:
            check_staples(current.configuration, current.material, shown_until, time.time())
        except ConfigurationError as error:
            if self._previous is None:
                raise
            self._abandon_reload(self._previous, str(error))
            return False
        return True

    def _become_worker(self, slot: int, control: socket.socket) -> NoReturn:
        """The child's side of the fork."""

        def begin() -> Coroutine[Any, Any, None]:
            sockets = self._current.sockets_by_listener()
            self._let_go(sockets.values())
            return Worker(
                self._current.blueprint,
                sockets,
                self._tally.row(slot),
                control,
                self._intermediates,
                knowledge=self._side.keeper.knowledge(),
            ).run()

        become(begin, self._settings.user)

    def _let_go(self, kept: Iterable[list[socket.socket]]) -> None:
        """In a child: of all that is its parent's or another child's, but for these sockets."""
        self._selector.close()
        self._control.close(is_child=True)
        self._signals.close()
        self._crew.close()
        self._side.close()
        mine = {each for listening in kept for each in listening}
        for generation in (self._current, self._previous):
            for listening in generation.sockets.values() if generation else ():
                close_all(each for each in listening if each not in mine)

    def _hear(self, worker: WorkerProcess, message: dict[str, object]) -> None:
        match message["event"]:
            case "ready":
                worker.is_ready = True
                self._worker_ready()
            case "intermediate":
                self._share_intermediate(str(message["certificate"]))
            case "want":
                self._side.keeper.want(message)
            case "ask":
                self._side.keeper.ask(message)
            case "counted":
                self._side.reports.take(message)

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
                self._crew.order_all(self._side.keeper.take_news(message["news"]))
            case "staple":
                self._crew.order_all(self._side.keeper.take_staple(message))

    def _share_intermediate(self, certificate: str) -> None:
        """Tell all workers of a CA certificate: who resumes a session sends its own only."""
        if certificate in self._intermediates or len(self._intermediates) >= MAX_INTERMEDIATES:
            return
        self._intermediates.append(certificate)
        self._crew.order_all({"order": "intermediate", "certificate": certificate})

    def _worker_ready(self) -> None:
        current = self._crew.of(self._current.number)
        if len(current) < worker_count(self._settings) or not all(w.is_ready for w in current):
            return
        self._restart_delay = 1.0
        older = [w for w in self._crew.workers if w.generation != self._current.number]
        if self._previous is not None:
            for order in trust_orders(self._current.blueprint):
                for worker in older:
                    self._crew.order(worker, order)
            self._previous.close_sockets(kept=self._current.sockets)
            self._previous = None
            self._put_on_record("reload")
        for worker in older:
            self._crew.order(worker, {"order": "retire"})
        self._notifier.ready()
        log.info("ready", workers=len(current), generation=self._current.number)
        self._reload_callers.answer({"ok": True, "generation": self._current.number})

    def _worker_died(self, worker: WorkerProcess, code: int) -> None:
        if self._is_stopping or worker.generation != self._current.number:
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
            configuration, blueprint = load(self._path, self._environ)
            sockets = open_listeners(configuration, self._current.sockets)
        except ConfigurationError as error:
            mistakes = [str(mistake) for mistake in (error, *error.others)]
            log.error("reload refused, the old configuration stays in force", mistakes=mistakes)
            return "\n".join(mistakes)
        self._notifier.reloading()
        self._previous = self._current
        number = self._current.number + 1
        self._current = Generation(number, configuration, blueprint, sockets)
        self._files = self._files.of(blueprint)
        self._configuration_watch = self._configuration_watch.of(self._watched())
        log.info("reloading", generation=self._current.number)
        self._prepare_workers()
        return None

    def _abandon_reload(self, previous: Generation, problem: str) -> None:
        """A new worker died before it was ready, say: the old generation serves on."""
        self._previous = None
        self._crew.kill(self._crew.of(self._current.number))
        self._current.close_sockets(kept=previous.sockets)
        failed = self._current.number
        older = [w.generation for w in self._crew.workers if w.generation < failed]
        self._current = previous._replace(number=max(older, default=failed + 1))
        self._restart_at = time.monotonic() + 1
        self._side.start()
        log.error("reload failed, the old workers go on", problem=problem)
        self._reload_callers.answer({"ok": False, "error": problem})

    def _watch(self) -> None:
        """Remember the state of all files that the configuration names."""
        self._files = LiveFiles(self._current.blueprint, self._crew.order_all, self._put_on_record)
        self._configuration_watch = FileWatch(self._watched())

    def _watched(self) -> Iterator[Path]:
        """The files that a change of means a reload."""
        allowlist = self._settings.allowlist
        return (path for path in self._current.configuration.files() if path != allowlist)

    def _look_at_files(self) -> None:
        if self._configuration_watch.has_changed():
            log.info("configuration changed on disk")
            self.reload()
        else:
            self._files.look()
            self._current = self._current._replace(blueprint=self._files.blueprint)

    # --- gatepost status, gatepost reload -----------------------------------------------------

    def _serve(self, command: str, caller: Caller) -> None:
        if command == "status":
            caller.answer(self._status())
        elif command == "reload":
            self._reload_callers.ask(caller, is_busy=self._previous is not None)
        else:
            caller.answer({"ok": False, "error": "unknown command"})

    def _status(self) -> dict[str, Any]:
        return status(
            self._crew,
            self._current,
            self._tally,
            uptime_seconds=time.monotonic() - self._started,
            crl_sources=self._crl_sources,
            ocsp=self._side.keeper.ocsp_state(),
        )
