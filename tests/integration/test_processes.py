"""Reload, drain and sudden death of a worker: no connection drops that need not."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.kit import clients
from tests.kit.relay_process import accepts, children, wait_until


class Load:
    """Clients in threads that send one message after another until told to stop."""

    def __init__(self, site, port, threads=4, keep=True):
        self.codes = []
        self.errors = []
        self._enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(site.context(site.pinned), port, keep))
            for _ in range(threads)
        ]

    def _run(self, context, port, keep):
        try:
            while not self._enough.is_set():
                with clients.session(port, context) as smtp:
                    smtp.ehlo("client.example")
                    self.codes.append(clients.transact(smtp).code)
                    while keep and not self._enough.is_set():
                        self.codes.append(clients.transact(smtp).code)
                    smtp.quit()
        except Exception as error:
            self.errors.append(error)

    def wait_for(self, more):
        goal = len(self.codes) + more
        wait_until(f"{more} more messages", lambda: self.errors or len(self.codes) >= goal, 60)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for(20)
        return self

    def __exit__(self, *_):
        self._enough.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def relay(own_upstream, start_relay):
    return start_relay(own_upstream.port, timeouts={"drain": "10s"})


@pytest.mark.parametrize("keep", [True, False], ids=["kept connections", "new connections"])
def test_reloads_under_load_drop_nothing(keep, site, relay, own_upstream):
    with Load(site, relay.port, keep=keep) as load:
        for _ in range(3):
            relay.reload()
            load.wait_for(40)
    assert not load.errors
    assert set(load.codes) == {250}
    assert len(own_upstream.messages) == len(load.codes)


def test_a_session_survives_the_reload(site, relay, own_upstream):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        smtp.mail("billing@acme.example")
        smtp.rcpt("user@dest.example")
        relay.reload()
        assert smtp.data(clients.MESSAGE)[0] == 250
        smtp.quit()


def test_a_broken_file_keeps_the_old_configuration(site, relay):
    good = relay.config.read_text()
    relay.write_settings(good.replace('hostname = "edge', 'hostnam = "edge'))
    done = relay.command("reload")
    assert done.returncode != 0
    assert "hostnam" in done.stdout + done.stderr
    assert clients.send(relay.port, site.context(site.pinned)).code == 250
    relay.write_settings(good)


def test_a_new_pin_counts_without_a_restart(site, relay):
    assert clients.send(relay.port, site.context(site.unpinned)).code == 421
    relay.write_allowlist(
        site.allowlist() + f'[[identity]]\nname = "second"\npins = ["{site.unpinned.pin}"]\n'
    )
    wait_until(
        "the new pin counts",
        lambda: clients.send(relay.port, site.context(site.unpinned)).code == 250,
    )


def test_a_removed_pin_ends_a_living_session(site, relay):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert clients.transact(smtp).code == 250
        relay.write_allowlist(f'[[identity]]\nname = "x"\npins = ["{site.unpinned.pin}"]\n')

        def is_refused():
            answer = clients.transact(smtp)
            assert answer.code in {250, 421}
            return answer.code == 421

        wait_until("the session is refused", is_refused, 10)


def test_a_stop_lets_messages_in_flight_finish(site, relay, own_upstream):
    own_upstream.script.delay = {"final": 1.5}
    answers = []

    def send():
        answers.append(clients.send(relay.port, site.context(site.pinned)).code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until("all are in flight", lambda: own_upstream.commands.count("DATA") == 6)
    relay.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert answers == [250] * 6
    assert relay.wait() == 0


def test_a_stop_tells_the_idle_421(site, relay):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        started = time.monotonic()
        relay.signal(signal.SIGTERM)
        code, text = smtp.getreply()
        assert (code, text[:5]) == (421, b"4.3.2")
        assert time.monotonic() - started < 5
    assert relay.wait() == 0


def test_a_killed_worker_is_replaced_and_the_others_go_on(site, relay):
    with contextlib.ExitStack() as stack:
        sessions = []
        for _ in range(12):
            smtp = stack.enter_context(clients.session(relay.port, site.context(site.pinned)))
            smtp.ehlo("client.example")
            sessions.append(smtp)
        victim, *others = relay.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(
            "a new worker",
            lambda: len(now := relay.workers()) == len(others) + 1 and victim not in now,
        )
        outcomes = [_code_or_gone(smtp) for smtp in sessions]
    assert outcomes.count(250) >= 1
    assert set(outcomes) <= {250, None}
    assert clients.send(relay.port, site.context(site.pinned)).code == 250


def _code_or_gone(smtp):
    try:
        return clients.transact(smtp).code
    except OSError:
        return None


def test_status_counts_what_was_done(site, relay):
    clients.send(relay.port, site.context(site.pinned))
    clients.send(relay.port, site.context(site.unpinned))
    done = relay.command("status", "--json")
    assert done.returncode == 0, done.stderr
    assert '"delivered"' in done.stdout


def test_a_stopped_relay_has_no_status(site, relay):
    relay.stop()
    assert relay.command("status").returncode == 1


def test_a_killed_supervisor_leaves_nobody_behind(relay):
    left = children(relay.pid)
    assert len(left) > 2
    relay.kill_supervisor()
    try:
        wait_until("nobody listens", lambda: not accepts(relay.port))
        wait_until("all are gone", lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    finally:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
