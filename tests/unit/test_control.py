"""The control socket: one JSON line each way, whatever the other side does."""

import json
import selectors
import socket

import pytest

from relay.control import ControlServer, socket_address


class Supervisor:
    """A selector's loop and a command to serve."""

    def __init__(self, path):
        self.selector = selectors.DefaultSelector()
        self.waiting = []
        self.server = ControlServer(path, self.selector, self.serve)

    def serve(self, command, caller):
        if command == "later":
            self.waiting.append(caller)
        else:
            caller.answer({"command": command})

    def turn(self, times=3):
        for _ in range(times):
            for key, _ in self.selector.select(0.2):
                key.data(key.fileobj)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def supervisor(path):
    made = Supervisor(path)
    yield made
    made.server.close()
    made.selector.close()


def ask(path, request):
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(5)
    caller.connect(str(path))
    caller.sendall(request)
    return caller


def answer(caller):
    with caller, caller.makefile() as lines:
        return [json.loads(line) for line in lines]


def test_a_command_is_answered_and_the_connection_closed(supervisor, path):
    caller = ask(path, b'{"command": "status"}\n')
    supervisor.turn()
    assert answer(caller) == [{"command": "status"}]


def test_a_request_may_come_in_pieces(supervisor, path):
    caller = ask(path, b'{"comm')
    supervisor.turn()
    caller.sendall(b'and": "status"}\n')
    supervisor.turn()
    assert answer(caller) == [{"command": "status"}]


def test_an_answer_may_come_later(supervisor, path):
    caller = ask(path, b'{"command": "later"}\n')
    supervisor.turn()
    supervisor.waiting[0].answer({"ok": True})
    assert answer(caller) == [{"ok": True}]


@pytest.mark.parametrize("request_line", [b"\n", b"nonsense\n", b"[]\n", b'{"x": 1}\n', b"\xff\n"])
def test_nonsense_is_the_empty_command(supervisor, path, request_line):
    caller = ask(path, request_line)
    supervisor.turn()
    assert answer(caller) == [{"command": ""}]


def test_who_talks_too_much_is_hung_up_on(supervisor, path):
    caller = ask(path, b"x" * 5000)
    supervisor.turn(5)
    assert caller.recv(10) == b""
    caller.close()


def test_who_has_gone_harms_nobody(supervisor, path):
    gone = ask(path, b'{"command": "later"}\n')
    supervisor.turn()
    gone.close()
    supervisor.waiting[0].answer({"ok": True})
    caller = ask(path, b'{"command": "status"}\n')
    supervisor.turn()
    assert answer(caller) == [{"command": "status"}]


def test_a_socket_somebody_serves_is_not_taken_over(supervisor, path):
    with pytest.raises(BlockingIOError):
        Supervisor(path)


def test_a_leftover_socket_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(path))
    made = Supervisor(path)
    caller = ask(path, b'{"command": "status"}\n')
    made.turn()
    assert answer(caller) == [{"command": "status"}]
    made.server.close()
    made.selector.close()
    assert not path.exists()


def test_a_state_folder_may_have_a_long_name(tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    made = Supervisor(folder / "control.sock")
    with pytest.raises(BlockingIOError):
        Supervisor(folder / "control.sock")
    with socket_address(folder / "control.sock") as address:
        caller = ask(address, b'{"command": "status"}\n')
    made.turn()
    assert answer(caller) == [{"command": "status"}]
    made.server.close()
    made.selector.close()


def test_only_the_owner_may_ask(supervisor, path):
    assert path.stat().st_mode & 0o777 == 0o600
