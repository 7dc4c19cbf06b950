"""Generations share sockets: whoever ends lets go of those that nobody else has."""

import socket
from types import SimpleNamespace

from relay.generation import Generation


def listening():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


def is_open(sockets):
    return [each.fileno() >= 0 for each in sockets]


def generation(sockets, listeners=()):
    settings = SimpleNamespace(listener=listeners)
    return Generation(1, SimpleNamespace(settings=settings), None, sockets)


def test_sockets_that_the_other_generation_has_stay_open():
    shared, gone = [listening()], [listening(), listening()]
    ending = generation({"shared:25": shared, "gone:25": gone})
    staying = generation({"shared:25": shared})
    ending.close_sockets(kept=staying.sockets)
    assert (is_open(shared), is_open(gone)) == ([True], [False, False])
    staying.close_sockets()
    assert is_open(shared) == [False]


def test_sockets_of_a_listener_are_found_by_its_name():
    partners, public = ["one"], ["two", "three"]
    made = generation(
        {"127.0.0.1:25": public, "127.0.0.1:465": partners, "127.0.0.1:80": ["http"]},
        [
            SimpleNamespace(name="partners", address="127.0.0.1:465"),
            SimpleNamespace(name="public", address="127.0.0.1:25"),
        ],
    )
    assert made.sockets_by_listener() == {"partners": partners, "public": public}
