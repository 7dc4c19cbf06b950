from __future__ import annotations

import asyncio
import socket
from datetime import timedelta

import pytest

from relay.errors import Unavailable
from relay.net.dialer import TcpDialer
from tests.kit.tcp import Loopback

PATIENCE = timedelta(seconds=10)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def addresses(*hosts: str):
    """What getaddrinfo would say."""

    async def getaddrinfo(_self, _host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    return getaddrinfo


def test_a_connection_knows_both_its_ends() -> None:
    async def run() -> None:
        async with Loopback.opened() as loopback:
            server, client = await loopback.pair()
            assert client.peer == ("127.0.0.1", loopback.port)
            assert client.local == server.peer
            assert server.local == client.peer

    asyncio.run(run())


def test_a_dead_connection_is_noticed_by_the_system() -> None:
    async def run() -> None:
        async with Loopback.opened() as loopback:
            for stream in await loopback.pair():
                sock = stream._transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    asyncio.run(run())


def test_the_next_address_is_tried_when_one_refuses(monkeypatch) -> None:
    async def run() -> None:
        async with Loopback.opened() as loopback:
            monkeypatch.setattr(
                asyncio.BaseEventLoop, "getaddrinfo", addresses("127.0.0.2", "127.0.0.1")
            )
            stream = await TcpDialer().connect("mx.example", loopback.port, PATIENCE)
            assert stream.peer.address == "127.0.0.1"
            stream.abort()

    asyncio.run(run())


def test_refusal_names_every_address_that_was_tried(monkeypatch) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", addresses("127.0.0.2", "127.0.0.1"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.2:\d+: .*; 127\.0\.0\.1:\d+: "):
        asyncio.run(TcpDialer().connect("mx.example", closed_port(), PATIENCE))


def test_an_address_that_does_not_answer_costs_its_share_only(monkeypatch) -> None:
    real = asyncio.BaseEventLoop.create_connection

    async def create_connection(self, factory, host, port):
        if host == "127.0.0.2":
            await asyncio.get_running_loop().create_future()
        return await real(self, factory, host, port)

    async def run() -> None:
        async with Loopback.opened() as loopback:
            monkeypatch.setattr(
                asyncio.BaseEventLoop, "getaddrinfo", addresses("127.0.0.2", "127.0.0.1")
            )
            monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
            stream = await TcpDialer().connect(
                "mx.example", loopback.port, timedelta(milliseconds=400)
            )
            stream.abort()

    asyncio.run(run())


def test_a_host_that_never_answers_is_unavailable_in_time(monkeypatch) -> None:
    async def create_connection(*_):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1:25: no answer"):
        asyncio.run(TcpDialer().connect("192.0.2.1", 25, timedelta(milliseconds=20)))


def test_dns_that_never_answers_is_unavailable_in_time(monkeypatch) -> None:
    async def getaddrinfo(*_, **__):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unavailable, match="mx.example: no answer from DNS"):
        asyncio.run(TcpDialer().connect("mx.example", 25, timedelta(milliseconds=20)))


@pytest.mark.parametrize("host", ["name.invalid", "a" * 64 + ".example", "..", ""])
def test_a_name_that_cannot_be_looked_up_is_unavailable(host: str, monkeypatch) -> None:
    async def getaddrinfo(_self, name, *_, **__):
        name.encode("idna")  # what the socket module does with it first
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unavailable):
        asyncio.run(TcpDialer().connect(host, 25, PATIENCE))
