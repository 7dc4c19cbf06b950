"""HTTP as we serve it, asked by a raw client: bounded, one request a connection, no words of exceptions."""

import gzip
import socket
import time

import pytest

from relay.admin import server
from relay.admin.server import HttpServer, answer_text
from tests.kit.http_client import ask, connect, exchange, read_reply
from tests.kit.http_server import Served
from tests.kit.relay_process import wait_until


async def echo(asked):
    return answer_text(200, f"{asked.address} {asked.rest} {asked.body!r}")


async def broken(_):
    raise RuntimeError("secret inner words")


ROUTES = {
    "/echo": {"GET": echo, "POST": echo},
    "/below/": {"GET": echo},
    "/broken": {"GET": broken},
}


@pytest.fixture(scope="module")
def port():
    with Served(HttpServer(ROUTES, max_body_bytes=100)) as served:
        yield served.port


def test_a_body_comes_to_its_handler(port):
    reply = ask(port, "POST", "/echo?x=1", b"hello")
    assert (reply.status, reply.body) == (200, b"127.0.0.1  b'hello'\n")


def test_what_is_below_a_path_comes_as_it_was_written(port):
    assert b" a%2Fb/c+d== " in ask(port, "GET", "/below/a%2Fb/c+d==").body


def test_a_head_is_a_get_without_its_body(port):
    reply = ask(port, "HEAD", "/echo")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.fields["content-length"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/nothing", 404), ("GET", "/echo/more", 404),
        ("GET", "/below", 404), ("GET", "/../echo", 404),
        ("GET", "//echo", 404), ("PUT", "/echo", 405), ("DELETE", "/below/x", 405),
        ("OPTIONS", "/echo", 405), ("GET", "/broken", 500),
    ],
)  # fmt: skip
def test_refusals(port, method, path, status):
    reply = ask(port, method, path)
    assert reply.status == status
    assert b"secret" not in reply.body


def test_a_wrong_method_is_told_the_right_ones(port):
    assert ask(port, "PUT", "/echo").fields["allow"] == "GET, POST, HEAD"


def test_every_answer_ends_its_connection_and_tells_nothing_of_us(port):
    for path in ("/echo", "/nothing", "/broken"):
        fields = ask(port, "GET", path).fields
        assert fields["connection"] == "close"
        assert fields["server"] == "Gatepost"
        assert fields["cache-control"] == "no-store"
        assert fields["x-content-type-options"] == "nosniff"


def test_a_second_request_on_the_connection_is_not_served(port):
    both = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    assert exchange(port, both).body.count(b"127.0.0.1") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n" + b"x" * 65536,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + b"x" * 64 + b"\r\n40\r\n" + b"x" * 64 + b"\r\n0\r\n\r\n",
    ],
    ids=["said", "said to be 10 GB", "chunked"],
)  # fmt: skip
def test_a_body_that_is_too_large_is_413(port, request_bytes):
    assert exchange(port, request_bytes).status == 413


def test_a_packed_body_is_not_unpacked(port):
    packed = gzip.compress(b"x" * 1000)
    reply = ask(port, "POST", "/echo", packed, Content_Encoding="gzip")
    assert reply.status == 200
    assert repr(packed).encode() in reply.body


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60,
        b"HELO client.example\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\n\x00\xff\xfe\r\n\r\n",
    ],
    ids=[
        "TLS", "SMTP", "long path", "long field", "many fields", "version", "length", "smuggling",
        "chunk", "bytes",
    ],
)  # fmt: skip
def test_garbage_is_400_in_our_words_or_nothing(port, garbage):
    reply = exchange(port, garbage)
    assert reply.status in {0, 400, 413}
    assert reply.body in {b"", b"bad request\n", b"request entity too large\n"}


def test_who_is_slow_is_cut_off(monkeypatch):
    monkeypatch.setattr(server, "DEADLINE_SECONDS", 0.5)
    with Served(HttpServer(ROUTES, max_body_bytes=100)) as served:
        slow = [connect(served.port) for _ in range(3)]
        slow[1].sendall(b"GET /echo HTTP/1.1\r\nHo")
        slow[2].sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
        started = time.monotonic()
        for each in slow:
            assert read_reply(each).status == 0
            each.close()
        assert 0.2 < time.monotonic() - started < 10
        assert ask(served.port, "GET", "/echo").status == 200


def test_more_connections_than_are_allowed_are_cut_off_at_once(monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    with Served(HttpServer(ROUTES, max_body_bytes=100)) as served:
        idle = [connect(served.port) for _ in range(2)]
        assert ask(served.port, "GET", "/echo").status == 0
        for each in idle:
            each.close()


def test_one_client_takes_its_share_and_leaves_the_rest(monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS_OF_CLIENT", 2)
    request = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
    with Served(HttpServer(ROUTES, max_body_bytes=100)) as served:
        idle = [connect(served.port) for _ in range(2)]
        assert ask(served.port, "GET", "/echo").status == 0
        place = ("127.0.0.1", served.port)
        with socket.create_connection(place, 30, source_address=("127.0.0.2", 0)) as other:
            other.sendall(request)
            assert read_reply(other).status == 200
        for each in idle:
            each.close()
        wait_until("there is room again", lambda: ask(served.port, "GET", "/echo").status == 200)
