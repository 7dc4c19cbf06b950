from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from relay.net.send_buffer import SendBuffer
from tests.kit.pki import Authority
from tests.kit.tcp import Holding
from tests.kit.tls import client_tls, server_tls, shake_hands

if TYPE_CHECKING:
    from relay.net.channel import TlsChannel

SERVER = Authority().issue("edge.example.org", usages=["server"])
PIECE = 64 * 1024


class Transport:
    """Remembers what was written, write by write; takes no more after `room` writes."""

    def __init__(self) -> None:
        self.written: list[bytes | memoryview] = []
        self.room = 1_000
        self.buffer: SendBuffer

    def write(self, data: bytes | memoryview) -> None:
        self.written.append(data)
        self.room -= 1
        if self.room == 0:
            self.buffer.pause()


def buffer() -> tuple[SendBuffer, Transport, Holding]:
    transport, holding = Transport(), Holding()
    transport.buffer = SendBuffer(transport, holding)
    return transport.buffer, transport, holding


def channels() -> tuple[TlsChannel, TlsChannel]:
    theirs, ours, _ = shake_hands(server_tls(SERVER), client_tls())
    return theirs, ours


def send(to: SendBuffer, *chunks: bytes) -> None:
    to.send(chunks)


def test_what_is_held_back_goes_in_one_write_and_in_order() -> None:
    ours, transport, holding = buffer()
    send(ours, b"MAIL FROM:<>\r\n")
    send(ours, b"RCPT TO:", b"<a@example.com>\r\n")
    assert holding.senders == [ours]
    assert transport.written == []
    ours.flush()
    ours.flush()
    assert transport.written == [b"MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n"]
    send(ours, b"DATA\r\n")
    assert holding.senders == [ours, ours]


@pytest.mark.parametrize("nothing", [(), (b"",), (b"", b"")])
def test_nothing_is_not_written(nothing: tuple[bytes, ...]) -> None:
    ours, transport, holding = buffer()
    ours.channel = channels()[1]
    ours.channel.outgoing()
    ours.send(nothing)
    ours.flush()
    assert (transport.written, holding.senders) == ([], [])


def test_a_lot_is_not_held_back_and_comes_after_what_was() -> None:
    ours, transport, _ = buffer()
    send(ours, b"DATA\r\n")
    send(ours, bytes(PIECE) + b".")
    assert transport.written == [b"DATA\r\n" + bytes(PIECE)]
    ours.flush()
    assert transport.written[1:] == [b"."]


def test_what_the_transport_does_not_take_waits_uncopied_and_in_clear() -> None:
    ours, transport, _ = buffer()
    theirs, ours.channel = channels()
    body = bytes(range(256)) * 4096
    ours.pause()
    send(ours, body, b".\r\n")
    assert transport.written == []
    assert ours._queue[0] is body
    assert not ours.is_low

    transport.room = 3
    ours.resume()
    waiting = cast("memoryview", ours._queue[0])
    assert waiting.obj is body
    assert not ours.is_low

    ours.resume()
    ours.flush()
    assert ours.is_low
    assert theirs.decrypt([bytes(each) for each in transport.written]) == body + b".\r\n"


def test_a_queue_is_written_in_pieces_with_small_chunks_joined() -> None:
    ours, transport, _ = buffer()
    ours.pause()
    chunks = [b"%06d" % number for number in range(50_000)]
    ours.send(tuple(chunks))
    send(ours, bytes(100_000))
    ours.resume()
    ours.flush()
    assert b"".join(transport.written) == b"".join(chunks) + bytes(100_000)
    assert max(map(len, transport.written)) <= 2 * PIECE
    assert len(transport.written) < 10


def test_a_transport_that_resumes_within_its_write_changes_no_order() -> None:
    ours, transport, _ = buffer()
    write = transport.write

    def write_and_resume(data: bytes | memoryview) -> None:
        ours.pause()
        write(data)
        ours.resume()

    transport.write = write_and_resume
    body = bytes(range(256)) * 4096
    send(ours, body, b".\r\n")
    ours.flush()
    assert b"".join(transport.written) == body + b".\r\n"


def test_nothing_more_is_taken_from_the_queue_once_tls_has_broken_down() -> None:
    ours, transport, _ = buffer()
    _, ours.channel = channels()
    ours.channel.say_goodbye()
    ours.channel.outgoing()
    send(ours, bytes(PIECE), bytes(PIECE))
    ours.flush()
    assert ours.channel.problem
    assert not ours.is_low
    assert transport.written == []


def test_a_transport_that_is_gone_is_given_nothing() -> None:
    ours, transport, holding = buffer()
    send(ours, b"250 OK\r\n")
    ours.pause()
    send(ours, b"221 Bye\r\n")
    ours.forget()
    ours.resume()
    ours.write(b"alert")
    for sender in holding.senders:
        sender.flush()
    assert transport.written == []
    assert ours.is_low
