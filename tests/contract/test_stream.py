"""What every `ports.Stream` must do: one suite, run on the real one and on the one in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import uvloop

from relay.errors import ConnectionLost, DeadlinePassed, HandshakeFailed
from tests.kit.pki import Authority
from tests.kit.stream import MemoryStream, stream_pair
from tests.kit.tcp import tcp_pair
from tests.kit.tls import client_tls, server_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from relay.model import TlsFacts
    from relay.ports import Stream

SERVER = Authority().issue("edge.example.org", usages=["server"])
MUCH = bytes(32 * 1024 * 1024)
SOON = timedelta(milliseconds=30)
LATER = timedelta(seconds=20)

Pair = tuple["Stream", "Stream"]


@asynccontextmanager
async def memory_pair() -> AsyncIterator[Pair]:
    client, server = stream_pair()
    for each in (server, client):
        each.high_water = 64 * 1024
        each.set_deadline(LATER)
    yield server, client


@pytest.fixture(params=["memory", "tcp", "tcp on uvloop"])
def talk(request) -> Callable[[Callable[[Stream, Stream], Awaitable[None]]], None]:
    """Runs a conversation between a server's stream and a client's."""

    async def hold(conversation) -> None:
        async with (memory_pair if request.param == "memory" else tcp_pair)() as (server, client):
            await asyncio.wait_for(conversation(server, client), 60)

    run = uvloop.run if request.param.endswith("uvloop") else asyncio.run
    return lambda conversation: run(hold(conversation))


async def start_tls(server: Stream, client: Stream) -> list[TlsFacts]:
    return await asyncio.gather(
        server.start_tls_server(server_tls(SERVER)),
        client.start_tls_client(client_tls(), "edge.example.org"),
    )


async def all_of(stream: Stream) -> bytes:
    data = bytearray()
    while more := await stream.receive():
        data += more
    return bytes(data)


def test_bytes_arrive_in_order(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        client.send(b"EHLO x\r\n", b"MAIL")
        client.send(b" FROM:<>\r\n")
        closing = asyncio.ensure_future(client.close())
        assert await all_of(server) == b"EHLO x\r\nMAIL FROM:<>\r\n"
        await server.close()
        await closing

    talk(conversation)


def test_an_orderly_end_is_empty_bytes_again_and_again(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        closing = asyncio.ensure_future(client.close())
        assert await server.receive() == b""
        assert await server.receive() == b""
        assert server.is_closing
        await server.close()
        await closing

    talk(conversation)


def test_an_abort_is_a_lost_connection(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        await start_tls(server, client)
        client.abort()
        with pytest.raises(ConnectionLost):
            await server.receive()
        assert server.is_closing
        assert client.is_closing

    talk(conversation)


def test_nothing_in_time_is_a_passed_deadline(talk) -> None:
    async def conversation(server: Stream, _client: Stream) -> None:
        server.set_deadline(SOON)
        with pytest.raises(DeadlinePassed):
            await server.receive()

    talk(conversation)


def test_a_deadline_binds_who_waits_already(talk) -> None:
    async def conversation(server: Stream, _client: Stream) -> None:
        waiting = asyncio.ensure_future(server.receive())
        await asyncio.sleep(0)
        server.set_deadline(SOON)
        with pytest.raises(DeadlinePassed):
            await waiting

    talk(conversation)


def test_a_later_deadline_gives_more_time(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        server.set_deadline(SOON)
        server.set_deadline(LATER)
        asyncio.get_running_loop().call_later(2 * SOON.total_seconds(), client.send, b"late")
        assert await server.receive() == b"late"

    talk(conversation)


def test_a_lifted_deadline_gives_all_the_time(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        server.set_deadline(SOON)
        server.set_deadline(None)
        asyncio.get_running_loop().call_later(2 * SOON.total_seconds(), client.send, b"late")
        assert await server.receive() == b"late"

    talk(conversation)


def test_after_a_passed_deadline_a_new_one_starts_anew(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        server.set_deadline(SOON)
        with pytest.raises(DeadlinePassed):
            await server.receive()
        server.set_deadline(LATER)
        client.send(b"at last")
        assert await server.receive() == b"at last"

    talk(conversation)


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
def test_drain_waits_for_a_slow_reader(talk, with_tls: bool) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        if with_tls:
            await start_tls(server, client)
        client.send(MUCH)
        draining = asyncio.ensure_future(client.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        received = 0
        while received < len(MUCH):
            received += len(await server.receive())
        await draining

    talk(conversation)


def test_drain_meets_the_deadline(talk) -> None:
    async def conversation(_server: Stream, client: Stream) -> None:
        client.send(MUCH)
        client.set_deadline(SOON)
        with pytest.raises(DeadlinePassed):
            await client.drain()

    talk(conversation)


def test_drain_does_not_wait_for_little(talk) -> None:
    async def conversation(_server: Stream, client: Stream) -> None:
        client.send(b"NOOP\r\n")
        await client.drain()

    talk(conversation)


def test_what_is_sent_after_the_end_is_dropped_in_silence(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        client.abort()
        client.send(b"too late")
        await client.close()
        server.abort()
        server.send(b"too late")

    talk(conversation)


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
def test_last_words_come_after_what_was_sent_and_before_the_end(talk, with_tls: bool) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        if with_tls:
            await start_tls(server, client)
        body = bytes(300_000)  # more than a socket takes at once
        server.send(b"250 2.0.0 Ok\r\n", body)
        closing = asyncio.create_task(server.close(last_words=b"221 2.0.0 Bye\r\n"))
        assert await all_of(client) == b"250 2.0.0 Ok\r\n" + body + b"221 2.0.0 Bye\r\n"
        await asyncio.gather(client.close(), closing)
        await server.close(last_words=b"and another thing")

    talk(conversation)


def test_closing_twice_is_closing_once(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        await asyncio.gather(server.close(), client.close())
        await asyncio.gather(server.close(), client.close())
        assert server.is_closing
        assert client.is_closing

    talk(conversation)


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
def test_unread_bytes_can_be_seen_without_being_taken(talk, with_tls: bool) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        if with_tls:
            await start_tls(server, client)
        assert not client.has_unread
        server.send(b"421 going down\r\n")
        while not client.has_unread:
            await asyncio.sleep(0)
        assert not client.is_closing
        assert await client.receive() == b"421 going down\r\n"
        assert not client.has_unread

    talk(conversation)


def test_tls_has_facts_on_both_sides_and_carries_bytes(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        assert server.tls is None
        facts = await start_tls(server, client)
        assert [server.tls, client.tls] == facts
        assert {each.version for each in facts} == {"TLSv1.3"}
        client.send(b"EHLO x\r\n")
        assert await server.receive() == b"EHLO x\r\n"
        server.send(b"250 ok\r\n")
        assert await client.receive() == b"250 ok\r\n"
        closing = asyncio.ensure_future(client.close())
        assert await server.receive() == b""
        await server.close()
        await closing

    talk(conversation)


def test_a_handshake_that_fails_says_why(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        if isinstance(server, MemoryStream):
            server.handshake = HandshakeFailed("not a TLS ClientHello: plain text instead of TLS")
        else:
            client.send(b"EHLO in clear\r\n")
        with pytest.raises(HandshakeFailed, match="plain text instead of TLS"):
            await server.start_tls_server(server_tls(SERVER))
        assert server.tls is None

    talk(conversation)


def test_both_ends_are_named(talk) -> None:
    async def conversation(server: Stream, client: Stream) -> None:
        assert server.peer == client.local
        assert client.peer == server.local

    talk(conversation)
