"""The mail data on their way in, whole and in pieces."""

from __future__ import annotations

import pytest

from relay.model import Address, Sender
from relay.smtp import server_replies as replies
from relay.smtp.conversation import Conversation
from relay.smtp.events import DataStart, Message
from relay.smtp.extensions import Extensions
from relay.smtp.framing import InputBuffer
from relay.smtp.mail_data import begin_chunk, read_mail_data
from relay.smtp.reception import Reception
from relay.smtp.replies import Reply
from relay.smtp.server_replies import Fault
from relay.smtp.states import State

Found = Message | Fault | Reply | None


def at(state: State, *, chunking: bool = True, size_bytes: int = 0) -> Conversation:
    conversation = Conversation(20, 100, tls_required=False)
    conversation.offered = Extensions(chunking=chunking)
    conversation.state = state
    sender = Sender(Address("a", "example.org"), size_bytes)
    conversation.reception = Reception(sender, 100, 20)
    return conversation


def read(conversation: Conversation, *pieces: bytes) -> tuple[Found, InputBuffer]:
    """Give the pieces until something is found."""
    source, found = InputBuffer(), read_mail_data(conversation, InputBuffer())
    for piece in pieces:
        assert found is None
        source.append(piece)
        found = read_mail_data(conversation, source)
    return found, source


def body(found: Found) -> bytes:
    assert isinstance(found, Message)
    return found.content.take_body()


CASES = [
    (b"..dot\r\n.\r\nNOOP\r\n", None),
    (b"bare\nnewline\r\n.\r\n", replies.BARE_NEWLINE),
    (b"nul\0\r\n.\r\n", replies.NUL_IN_MESSAGE),
    (b"x" * 21 + b"\r\n.\r\n", replies.line_too_long(20)),
    (b"0123456789\r\n" * 9 + b".\r\n", replies.MESSAGE_TOO_LARGE),
]


@pytest.mark.parametrize(("data", "fault"), CASES)
def test_data(data: bytes, fault: Fault | None) -> None:
    conversation = at(State.CONTENT)
    found, source = read(conversation, data)
    if fault is None:
        assert body(found) == b".dot\r\n"
        assert source.take(100) == b"NOOP\r\n"
        assert conversation.state is State.CONTENT  # until the message is answered
        return
    assert found == fault
    # A bare newline ends the connection, all else the message.
    ended = (State.CONTENT, True) if fault.closes else (State.READY, False)
    assert (conversation.state, conversation.reception is not None) == ended


def test_data_in_pieces() -> None:
    found, _ = read(at(State.CONTENT), b"ab", b"c\r", b"\n.", b"\r\n")
    assert body(found) == b"abc\r\n"


def test_the_first_chunk_asks_with_its_size_or_the_declared_one() -> None:
    for declared, told in ((0, 5), (77, 77)):
        conversation = at(State.RECIPIENT, size_bytes=declared)
        assert begin_chunk(conversation, b"5", None) == DataStart(chunking=True, size_bytes=told)
        assert conversation.chunk is not None
        assert conversation.state is State.RECIPIENT  # until the caller has answered


def test_later_chunks_ask_nothing() -> None:
    conversation = at(State.CHUNKS)
    assert begin_chunk(conversation, b"5", None) is None
    assert conversation.chunk is not None
    assert conversation.state is State.CHUNKS


def test_a_chunk_too_large_is_not_asked_about() -> None:
    conversation = at(State.RECIPIENT)
    assert begin_chunk(conversation, b"101 LAST", None) is None
    assert conversation.state is State.CHUNKS
    found, _ = read(conversation, b"x" * 101)
    assert found == replies.MESSAGE_TOO_LARGE
    assert (conversation.state, conversation.reception) == (State.READY, None)


def test_where_a_chunk_without_a_size_ends_nobody_knows() -> None:
    conversation = at(State.RECIPIENT)
    assert begin_chunk(conversation, b"x", replies.MAIL_FIRST) == replies.BDAT_SYNTAX
    assert conversation.chunk is None


@pytest.mark.parametrize(
    ("chunking", "objection", "fault"),
    [
        (False, None, replies.NOT_IMPLEMENTED),
        (True, replies.MAIL_FIRST, replies.MAIL_FIRST),
    ],
)
def test_a_chunk_that_may_not_come_is_read_for_nothing(
    chunking: bool, objection: Fault | None, fault: Fault
) -> None:
    conversation = at(State.READY, chunking=chunking)
    conversation.reception = None
    assert begin_chunk(conversation, b"6 LAST", objection) is None
    found, source = read(conversation, b"bare\n", b"xNOOP\r\n")
    assert found == fault
    assert source.take(100) == b"NOOP\r\n"
    assert (conversation.state, conversation.chunk) == (State.READY, None)


def test_chunks_become_a_message() -> None:
    conversation = at(State.CHUNKS)
    begin_chunk(conversation, b"4", None)
    found, source = read(conversation, b"ab", b"c\rBDAT")
    assert found == replies.chunk_done(4)
    assert source.take(100) == b"BDAT"
    begin_chunk(conversation, b"1", None)
    assert read(conversation, b"\n")[0] == replies.chunk_done(1)
    begin_chunk(conversation, b"0 LAST", None)
    found, _ = read(conversation)
    assert body(found) == b"abc\r\n"
    assert conversation.state is State.CHUNKS  # until the message is answered


def test_a_bare_newline_is_found_before_the_chunk_ends() -> None:
    conversation = at(State.CHUNKS)
    begin_chunk(conversation, b"50", None)
    assert read(conversation, b"a\nb")[0] == replies.BARE_NEWLINE


@pytest.mark.parametrize(("argument", "state"), [(b"3", State.FAILED), (b"3 LAST", State.READY)])
def test_a_chunk_at_fault_fails_the_message(argument: bytes, state: State) -> None:
    conversation = at(State.CHUNKS)
    begin_chunk(conversation, argument, None)
    assert read(conversation, b"a\0b")[0] == replies.NUL_IN_MESSAGE
    assert conversation.state is state
