"""What only the real stream has; what every stream must do is in tests/contract/test_stream.py."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import uvloop
from OpenSSL import SSL

from relay.errors import ConnectionLost, DeadlinePassed, HandshakeFailed
from relay.model import Endpoint
from relay.net.channel import TlsChannel
from relay.tls.profile import INTERMEDIATE, MODERN
from tests.kit.client_hello import client_hello, in_records
from tests.kit.pki import Authority
from tests.kit.tcp import Holding, Loopback, tcp_pair
from tests.kit.tls import client_tls, server_tls

if TYPE_CHECKING:
    from relay.net.stream import TcpStream

CA = Authority()
SERVER = CA.issue("edge.example.org", dns=["edge.example.org"], usages=["server"])
CLIENT = CA.issue("client.example")
HELLO = in_records(client_hello())
TLS12 = INTERMEDIATE._replace(versions=("TLSv1.2",))


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return request.param


async def start_tls(server, client, *, profile=INTERMEDIATE, tls=None) -> None:
    await asyncio.gather(
        server.start_tls_server(tls or server_tls(SERVER)),
        client.start_tls_client(client_tls(CLIENT, profile), "edge.example.org"),
    )


def offer() -> bytes:
    """A good ClientHello, as raw bytes."""
    channel = TlsChannel(client_tls().connect("edge.example.org", Endpoint("192.0.2.1", 25)))
    channel.shake_hands()
    return channel.outgoing()


async def receive_exactly(stream: TcpStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = await stream.receive()
        assert more
        data += more
    assert len(data) == size
    return bytes(data)


def test_large_messages_cross_both_ways_at_once(run) -> None:
    body = bytes(range(256)) * 20_000

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await start_tls(server, client)
            for stream in (server, client):
                stream.send(b"head\r\n", body, b".\r\n")
            received = await asyncio.gather(
                receive_exactly(server, len(body) + 9), receive_exactly(client, len(body) + 9)
            )
            assert received == [b"head\r\n" + body + b".\r\n"] * 2
            await asyncio.gather(server.drain(), client.drain())

    run(talk())


def test_many_small_chunks_arrive_in_order(run) -> None:
    chunks = [b"%06d" % number for number in range(50_000)]

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(*chunks)
            client.send()
            client.send(b"")
            client.send(b"end")
            assert await receive_exactly(server, 300_003) == b"".join(chunks) + b"end"

    run(talk())


@pytest.mark.parametrize("is_tls", [True, False])
def test_the_end_goes_in_one_write_with_what_is_held_back(run, is_tls: bool) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            if is_tls:
                await start_tls(server, client)
            server._send_buffer._writes = Holding()
            written = Written(server)
            server.send(b"250 OK\r\n")
            closing = asyncio.create_task(server.close(last_words=b"221 Bye\r\n"))
            assert await receive_exactly(client, 17) == b"250 OK\r\n221 Bye\r\n"
            assert await client.receive() == b""
            assert len(written.pieces) == 1
            await client.close()
            await closing

    run(talk())


def test_an_abort_sends_what_is_held_back_first(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            holding = server._send_buffer._writes = Holding()
            server.send(b"421 Bye\r\n")
            server.abort()
            assert await client.receive() == b"421 Bye\r\n"
            for sender in holding.senders:
                sender.flush()  # there is nothing any more, and no transport to take it

    run(talk())


def test_what_a_slow_reader_has_not_taken_is_not_copied(run) -> None:
    body = bytes(32 * 1024 * 1024)

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await start_tls(server, client)
            client.send(body)
            waiting = client._transport.get_write_buffer_size()
            assert waiting < 1024 * 1024
            assert sum(map(len, client._send_buffer._queue)) > 16 * 1024 * 1024
            assert all(isinstance(each, memoryview) for each in client._send_buffer._queue)
            await asyncio.gather(client.drain(), receive_exactly(server, len(body)))

    run(talk())


def test_a_reader_that_takes_nothing_stops_the_sender(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(bytes(64 * 1024 * 1024))
            client.set_deadline(timedelta(milliseconds=300))
            with pytest.raises(DeadlinePassed):
                await client.drain()
            assert server._inbox_bytes < 1024 * 1024

    run(talk())


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_peer_that_sends_byte_by_byte_does_not_make_us_hold_an_object_for_each(
    run, is_tls: bool
) -> None:
    words = b"".join(b"%06d" % number for number in range(20_000))

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            wire = words
            if is_tls:
                await start_tls(server, client)
                wire = b"".join(
                    client._channel.encrypt(words[start : start + 8_000])
                    for start in range(0, len(words), 8_000)
                )
            for byte in wire:  # as it comes while the session waits for somebody else
                server.data_received(bytes([byte]))
            assert len(server._inbox) < 2_000
            assert await server.receive() == words

    run(talk())


def test_bytes_in_front_of_the_handshake_are_never_taken_for_tls_bytes(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(b"RSET\r\n")  # an attacker's, after STARTTLS and before the handshake
            with pytest.raises(HandshakeFailed, match="plain text instead of TLS") as caught:
                await server.start_tls_server(server_tls(SERVER))
            assert caught.value.hello is None
            with pytest.raises(ConnectionLost):
                await server.receive()
            assert server.is_closing

    run(talk())


def test_bytes_looked_at_before_the_handshake_are_never_taken_for_tls_bytes(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            server.send(b"250 injected\r\n")
            await server.drain()
            while not client.has_unread:
                await asyncio.sleep(0)
            with pytest.raises(HandshakeFailed):
                await client.start_tls_client(client_tls(), "edge.example.org")
            with pytest.raises(ConnectionLost):
                await client.receive()

    run(talk())


def test_an_offer_that_came_before_we_asked_is_used(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            shaking = asyncio.ensure_future(client.start_tls_client(client_tls(), "x.example"))
            while not server.has_unread:
                await asyncio.sleep(0)
            facts = await server.start_tls_server(server_tls(SERVER))
            await shaking
            assert facts.server_name == "x.example"

    run(talk())


@pytest.mark.parametrize(
    ("client_profile", "server_profile", "reason"),
    [
        (TLS12, MODERN, "unsupported protocol: client offered TLSv1.2 at best"),
        (
            TLS12._replace(tls12_ciphers=("ECDHE-RSA-AES128-GCM-SHA256",)),
            INTERMEDIATE,
            "no shared cipher",
        ),
        (MODERN._replace(groups=(("secp521r1",),)), INTERMEDIATE, "no suitable key share"),
    ],
)
def test_a_failed_handshake_tells_both_sides_why(
    run, client_profile, server_profile, reason
) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            ours, theirs = await asyncio.gather(
                server.start_tls_server(server_tls(SERVER, profile=server_profile)),
                client.start_tls_client(client_tls(profile=client_profile), "x.example"),
                return_exceptions=True,
            )
            assert isinstance(ours, HandshakeFailed)
            assert isinstance(theirs, HandshakeFailed)
            assert ours.reason == reason
            assert ours.hello is not None
            assert ours.hello.server_name == "x.example"
            assert "alert" in theirs.reason
            server.send(b"421 in clear, which must not go out\r\n")
            closing = asyncio.ensure_future(server.close())
            with pytest.raises(ConnectionLost):
                await client.receive()
            client.abort()
            await closing

    run(talk())


def test_a_client_that_does_not_like_our_certificate_is_heard(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            picky = client_tls(profile=TLS12)
            picky._context.set_verify(SSL.VERIFY_PEER)
            results = await asyncio.gather(
                server.start_tls_server(server_tls(SERVER)),
                client.start_tls_client(picky, "edge.example.org"),
                return_exceptions=True,
            )
            assert "unknown ca" in str(results[0])
            assert "certificate verify failed" in str(results[1])

    run(talk())


@pytest.mark.parametrize("part", [b"", HELLO[:1], HELLO[:20]])
def test_a_client_that_leaves_during_the_handshake_is_recorded_so(run, part: bytes) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(part)
            closing = asyncio.ensure_future(client.close())
            with pytest.raises(HandshakeFailed, match="peer closed during the handshake"):
                await server.start_tls_server(server_tls(SERVER))
            await asyncio.gather(server.close(), closing)

    run(talk())


def test_a_client_that_leaves_after_its_offer_is_recorded_with_it(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(offer())
            closing = asyncio.ensure_future(client.close())
            with pytest.raises(HandshakeFailed, match="peer closed") as caught:
                await server.start_tls_server(server_tls(SERVER))
            assert caught.value.hello is not None
            await asyncio.gather(server.close(), closing)

    run(talk())


class Written:
    """A transport that remembers what was written, write by write."""

    def __init__(self, stream: TcpStream) -> None:
        self.transport, self.pieces = stream._transport, []
        stream._transport = stream._send_buffer._transport = self

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        self.transport.write(data)

    def __getattr__(self, name: str):
        return getattr(self.transport, name)


@pytest.mark.parametrize("server_speaks", [True, False])
def test_tickets_go_with_the_first_words_or_before_the_first_wait(run, server_speaks: bool) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            written = Written(server)
            await start_tls(server, client)
            written.pieces.clear()
            waiting = asyncio.create_task(client.receive())
            if server_speaks:
                server.send(b"220 edge.example.org ESMTP\r\n")
                assert await waiting == b"220 edge.example.org ESMTP\r\n"
            else:
                listening = asyncio.create_task(server.receive())
                await asyncio.sleep(0)
                listening.cancel()
                waiting.cancel()
            assert [len(each) > 1000 for each in written.pieces] == [True]

    run(talk())


@pytest.mark.parametrize("part", [b"", HELLO[:20], offer()])
def test_half_a_handshake_meets_the_deadline(run, part: bytes) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(part)
            server.set_deadline(timedelta(milliseconds=30))
            with pytest.raises(DeadlinePassed):
                await server.start_tls_server(server_tls(SERVER))
            server.send(b"nothing in clear")
            assert server.is_closing
            closing = asyncio.create_task(server.close(last_words=b"not even at the end"))
            heard = b""
            while data := await client.receive():
                heard += data
            assert b"clear" not in heard
            assert b"end" not in heard
            await client.close()
            await closing

    run(talk())


def test_a_byte_now_and_then_gains_no_time(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            drip = asyncio.ensure_future(send_slowly(client))
            server.set_deadline(timedelta(milliseconds=80))
            with pytest.raises(DeadlinePassed):
                await server.start_tls_server(server_tls(SERVER))
            drip.cancel()

    async def send_slowly(client: TcpStream) -> None:
        for byte in HELLO:
            client.send(bytes([byte]))
            await asyncio.sleep(0.01)

    run(talk())


@pytest.mark.parametrize("profile", [TLS12, MODERN], ids=["TLSv1.2", "TLSv1.3"])
def test_tls_cut_off_without_close_notify_is_no_orderly_end(run, profile) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await start_tls(server, client, profile=profile)
            client.send(b"MAIL FROM:<>\r\n")
            client._transport.write_eof()
            assert await server.receive() == b"MAIL FROM:<>\r\n"
            with pytest.raises(ConnectionLost, match="without close_notify"):
                await server.receive()
            assert server.is_closing

    run(talk())


@pytest.mark.parametrize("profile", [TLS12, MODERN], ids=["TLSv1.2", "TLSv1.3"])
def test_close_notify_without_fin_is_an_orderly_end(run, profile) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await start_tls(server, client, profile=profile)
            assert client._channel is not None
            client.send(b"QUIT\r\n")
            client._channel.say_goodbye()
            client._send_buffer.write(client._channel.outgoing())
            while not server.is_closing:  # found by looking, before anybody has received
                await asyncio.sleep(0)
            assert server.has_unread
            assert await server.receive() == b"QUIT\r\n"
            assert await server.receive() == b""
            server.send(b"221 bye\r\n")
            assert await client.receive() == b"221 bye\r\n"

    run(talk())


def test_a_record_that_was_tampered_with_is_a_lost_connection(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await start_tls(server, client)
            client._transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(ConnectionLost, match="TLS failed"):
                await server.receive()
            assert server.is_closing
            server.send(b"ignored")

    run(talk())


def test_a_reset_after_data_hands_the_data_out_first() -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(b"DATA\r\n")
            while not server.has_unread:
                await asyncio.sleep(0)
            client.abort()
            reset = client._transport.get_extra_info("socket")
            assert reset is not None
            server._transport.abort()
            await asyncio.sleep(0)
            assert await server.receive() == b"DATA\r\n"
            with pytest.raises(ConnectionLost):
                await server.receive()

    asyncio.run(talk())


def test_a_reset_by_the_peer_is_a_lost_connection(run) -> None:
    async def talk() -> None:
        async with Loopback.opened() as loopback:
            raw = socket.create_connection(("127.0.0.1", loopback.port))
            server = await loopback.accept()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            with pytest.raises(ConnectionLost, match="connection lost"):
                await server.receive()
            with pytest.raises(ConnectionLost):
                await server.drain()
            server.send(b"into the void")
            await server.close()
            assert server.is_closing

    run(talk())


def test_the_last_reply_survives_what_the_peer_still_sends(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(bytes(3_000_000))  # goes on talking while it is refused
            server.send(b"554 5.7.1 no\r\n")
            closing = asyncio.ensure_future(server.close())
            received = b""
            while data := await client.receive():
                received += data
            assert received == b"554 5.7.1 no\r\n"
            await asyncio.gather(client.close(), closing)

    run(talk())


def test_close_is_bounded_when_the_peer_stays(run, monkeypatch) -> None:
    monkeypatch.setattr("relay.net.stream._CLOSE_TIME", timedelta(milliseconds=40))

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            await server.close()
            assert server._lost or server._transport.is_closing()
            assert await client.receive() == b""

    run(talk())


def test_close_is_bounded_when_the_peer_does_not_read(run, monkeypatch) -> None:
    monkeypatch.setattr("relay.net.stream._CLOSE_TIME", timedelta(milliseconds=40))

    async def talk() -> None:
        async with tcp_pair() as (server, _client):
            server.send(bytes(64 * 1024 * 1024))
            await server.close()
            assert server._transport.is_closing()

    run(talk())


@pytest.mark.parametrize("part", [b"", offer()], ids=["no offer", "an offer"])
def test_closing_ends_a_handshake_that_another_task_waits_for(
    run, monkeypatch, part: bytes
) -> None:
    monkeypatch.setattr("relay.net.stream._CLOSE_TIME", timedelta(milliseconds=40))

    async def talk() -> None:
        async with tcp_pair() as (server, client):
            client.send(part)
            shaking = asyncio.ensure_future(server.start_tls_server(server_tls(SERVER)))
            if part:
                assert (await client.receive())[:1] == b"\x16"  # a handshake record
            await asyncio.wait_for(server.close(), 10)
            with pytest.raises(HandshakeFailed, match="we closed during the handshake"):
                await asyncio.wait_for(shaking, 10)

    run(talk())


def test_a_handshake_does_not_begin_to_wait_after_the_deadline(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (_server, client):
            client.set_deadline(timedelta(0))
            with pytest.raises(DeadlinePassed):
                await client.receive()
            with pytest.raises(DeadlinePassed):
                await asyncio.wait_for(client.start_tls_client(client_tls(), "x.example"), 10)

    run(talk())


def test_a_cancelled_close_still_closes(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, _client):
            closing = asyncio.ensure_future(server.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert server._transport.is_closing()

    run(talk())


def test_closing_wakes_another_task_that_waits(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            receiving = asyncio.ensure_future(server.receive())
            client.send(bytes(16 * 1024 * 1024))
            draining = asyncio.ensure_future(client.drain())
            await receiving
            receiving = asyncio.ensure_future(client.receive())
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(client.close())
            results = await asyncio.gather(draining, receiving, return_exceptions=True)
            assert all(isinstance(each, ConnectionLost) for each in results)
            server.abort()
            await closing

    run(talk())


def test_a_reused_session_is_resumed_over_sockets(run) -> None:
    async def talk() -> None:
        async with Loopback.opened() as loopback:
            tls, ours = server_tls(SERVER), client_tls(CLIENT)
            for is_second in (False, True):
                server, client = await loopback.pair()
                seen, known = await asyncio.gather(
                    server.start_tls_server(tls), client.start_tls_client(ours, "edge.example.org")
                )
                assert (seen.resumed, known.resumed) == (is_second, is_second)
                assert seen.certificates == CLIENT.certificates
                assert known.certificates == SERVER.certificates
                server.send(b"250 ok\r\n")
                assert await client.receive() == b"250 ok\r\n"
                client.abort()  # no close_notify: the session is good all the same
                with pytest.raises(ConnectionLost):
                    await server.receive()
                await server.close()

    run(talk())


def test_renegotiation_is_refused_at_once(run) -> None:
    async def talk() -> None:
        async with tcp_pair() as (server, client):
            old = client_tls()
            old._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            old._context.set_max_proto_version(SSL.TLS1_2_VERSION)
            await asyncio.gather(
                server.start_tls_server(server_tls(SERVER)),
                client.start_tls_client(old, "edge.example.org"),
            )
            assert client._channel is not None
            receiving = asyncio.ensure_future(server.receive())
            client._channel.connection.renegotiate()
            assert not client._channel.shake_hands()
            client._send_buffer.write(client._channel.outgoing())
            with pytest.raises(ConnectionLost, match="no renegotiation"):
                await client.receive()
            assert not receiving.done()  # the server is still waiting for a command
            receiving.cancel()

    run(talk())


def test_what_openssl_holds_is_free_as_soon_as_the_connection_is_gone(run) -> None:
    async def talk() -> list[weakref.ref[SSL.Connection]]:
        async with tcp_pair() as (server, client):
            await start_tls(server, client)
            held = [weakref.ref(each._channel.connection) for each in (server, client)]
            client.send(b"QUIT\r\n")
            await server.receive()
            await asyncio.gather(server.close(), client.close())
            server.set_deadline(timedelta(minutes=5))  # a session that has not looked yet
            return held

    gc.collect()
    gc.disable()  # whoever waits for the collector holds some 50 KiB until then
    try:
        assert [each() for each in run(talk())] == [None, None]
    finally:
        gc.enable()
