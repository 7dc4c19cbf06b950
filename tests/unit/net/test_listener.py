from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from datetime import timedelta
from ipaddress import ip_network

import pytest
import uvloop

from relay.errors import ConnectionLost, DeadlinePassed
from relay.model import Endpoint
from relay.net.listener import open_sockets, read_proxy_header, serve
from tests.kit.tcp import tcp_pair

LOOPBACK = (ip_network("::1/128"), ip_network("127.0.0.0/8"))
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 25\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", 0x20, 0, 0)


def close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("address", "families"),
    [
        ("127.0.0.1:0", {socket.AF_INET}),
        ("[::1]:0", {socket.AF_INET6}),
        ("0.0.0.0:0", {socket.AF_INET}),
    ],
)
def test_an_address_is_listened_on(address: str, families: set[int]) -> None:
    sockets = open_sockets(address)
    assert {each.family for each in sockets} == families
    for each in sockets:
        with socket.create_connection(each.getsockname()[:2], timeout=5):
            pass
    close_all(sockets)


def test_both_families_can_share_a_port() -> None:
    first = open_sockets("0.0.0.0:0")
    second = open_sockets(f"[::]:{first[0].getsockname()[1]}")
    close_all(first + second)


def test_a_port_in_use_is_said_in_words() -> None:
    [taken] = open_sockets("127.0.0.1:0")
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(OSError, match="in use") as caught:
        open_sockets(address)
    assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, address)
    taken.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.1:0", "no such address"),
        ("25", "no address"),
        ("2001:db8::1:25", "no address"),
        ("127.0.0.1:65536", "no address"),
        ("127.0.0.1:smtp", "no address"),
        ("unix:/nonexistent/gatepost.sock", "No such file"),
    ],
)
def test_a_wrong_address_is_said_in_words(address: str, words: str) -> None:
    with pytest.raises(OSError, match=words):
        open_sockets(address)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen anywhere")
def test_a_forbidden_place_is_said_in_words(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="no permission"):
        open_sockets(f"unix:{tmp_path}/gatepost.sock")


def test_a_unix_socket_left_behind_is_replaced(tmp_path) -> None:
    path = tmp_path / "gatepost.sock"
    [old] = open_sockets(f"unix:{path}")
    old.close()
    [new] = open_sockets(f"unix:{path}")
    new.close()


def test_a_unix_socket_that_is_served_is_left_alone(tmp_path) -> None:
    [old] = open_sockets(f"unix:{tmp_path}/gatepost.sock")
    with pytest.raises(OSError, match="in use"):
        open_sockets(f"unix:{tmp_path}/gatepost.sock")
    old.close()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path) -> None:
    path = tmp_path / "mail.txt"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        open_sockets(f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_unix_client_is_named_by_the_socket(run, tmp_path) -> None:
    path = str(tmp_path / "gatepost.sock")

    async def talk() -> None:
        [listening] = open_sockets(f"unix:{path}")
        accepted = asyncio.get_running_loop().create_future()
        server = await serve(listening, accepted.set_result)
        reader, writer = await asyncio.open_unix_connection(path)
        stream = await asyncio.wait_for(accepted, 10)
        assert stream.peer == stream.local == Endpoint(path, 0)
        stream.send(b"220 ready\r\n")
        assert await reader.readline() == b"220 ready\r\n"
        writer.close()
        await writer.wait_closed()
        await stream.close()
        server.close()
        listening.close()

    run(talk())


def test_a_closed_server_accepts_no_more_and_its_streams_live_on() -> None:
    async def talk() -> None:
        [listening] = open_sockets("127.0.0.1:0")
        accepted = asyncio.get_running_loop().create_future()
        server = await serve(listening, accepted.set_result)
        port = listening.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stream = await asyncio.wait_for(accepted, 10)
        server.close()
        listening.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        stream.send(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()
        await stream.close()

    asyncio.run(talk())


@pytest.mark.parametrize("pieces", [[V1 + b"EHLO x\r\n"], [V1[:9], V1[9:] + b"EHLO x\r\n"]])
def test_a_named_proxy_is_believed_and_nothing_after_its_header_is_lost(pieces) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            reading = asyncio.ensure_future(read_proxy_header(server, LOOPBACK))
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0)
            assert await reading is not None
            assert server.peer == Endpoint("192.0.2.7", 51_000)
            assert server.local == Endpoint("198.51.100.1", 25)
            assert await server.receive() == b"EHLO x\r\n"

    asyncio.run(talk())


def test_a_proxy_that_speaks_for_itself_keeps_its_address() -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(LOCAL)
            before = server.peer
            header = await read_proxy_header(server, LOOPBACK)
            assert header is not None
            assert header.source is None
            assert server.peer == before

    asyncio.run(talk())


def test_others_are_not_believed() -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(V1)
            assert await read_proxy_header(server, [ip_network("192.0.2.0/24")]) is None
            assert server.peer.address == "127.0.0.1"
            assert await server.receive() == V1

    asyncio.run(talk())


@pytest.mark.parametrize("data", [b"EHLO client.example\r\n", b"\x16\x03\x01\x00\x05", V1[:20]])
def test_a_named_proxy_without_a_header_is_refused(data: bytes) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(data)
            closing = asyncio.ensure_future(client.close())
            with pytest.raises(ConnectionLost, match=r"proxy 127\.0\.0\.1:\d+: "):
                await read_proxy_header(server, LOOPBACK)
            server.abort()
            await closing

    asyncio.run(talk())


def test_a_slow_proxy_meets_the_deadline() -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(V1[:10])
            server.set_deadline(timedelta(milliseconds=30))
            with pytest.raises(DeadlinePassed):
                await read_proxy_header(server, LOOPBACK)

    asyncio.run(talk())
