"""The engine's promises to its caller; what the client sees is in tests/dialogs."""

from __future__ import annotations

import pytest

from relay.model import Address, Recipient, Sender
from relay.smtp.events import (
    NEED_DATA,
    PAUSE,
    Closed,
    DataStart,
    Hello,
    MailFrom,
    Message,
    RcptTo,
    StartTls,
    Violation,
)
from relay.smtp.extensions import Extensions
from relay.smtp.replies import Reply
from relay.smtp.server import ServerEngine, ServerLimits
from tests.kit.smtp_server import BANNER, EVERYTHING, Caller, new_engine

OK = Reply(250, "2.0.0", ("Ok",))
GO_AHEAD = Reply(354, "", ("Go ahead",))
BUSY = Reply(452, "4.3.1", ("Busy",))


def greeted(limits: ServerLimits | None = None) -> ServerEngine:
    engine = new_engine(limits)
    engine.greet(BANNER)
    engine.receive(b"EHLO client.example\r\n")
    assert engine.next_event() == Hello("EHLO", "client.example", True)
    engine.accept_hello(EVERYTHING)
    engine.data_to_send()
    return engine


def with_recipient(limits: ServerLimits | None = None, parameters: bytes = b"") -> ServerEngine:
    engine = greeted(limits)
    engine.receive(b"MAIL FROM:<a@example.org>%s\r\nRCPT TO:<b@example.com>\r\n" % parameters)
    for kind in (MailFrom, RcptTo):
        assert isinstance(engine.next_event(), kind)
        engine.answer(OK)
    assert engine.next_event() is NEED_DATA
    engine.data_to_send()
    return engine


def in_data(limits: ServerLimits | None = None) -> ServerEngine:
    engine = with_recipient(limits)
    engine.receive(b"DATA\r\n")
    assert isinstance(engine.next_event(), DataStart)
    engine.answer(GO_AHEAD)
    engine.data_to_send()
    return engine


def test_events_carry_what_was_said() -> None:
    engine = greeted()
    engine.receive(b"MAIL FROM:<a@example.org> SIZE=99 BODY=8BITMIME\r\n")
    sender = Sender(Address("a", "example.org"), size_bytes=99, body="8BITMIME")
    assert engine.next_event() == MailFrom(sender)
    engine.answer(OK)
    engine.receive(b"RCPT TO:<b@example.com> NOTIFY=NEVER\r\n")
    recipient = Recipient(Address("b", "example.com"), notify="NEVER")
    assert engine.next_event() == RcptTo(recipient)
    engine.answer(OK)
    engine.receive(b"DATA\r\n")
    assert engine.next_event() == DataStart(chunking=False, size_bytes=99)
    engine.answer(GO_AHEAD)
    engine.receive(b"\xff\r\n.\r\n")
    message = engine.next_event()
    assert isinstance(message, Message)
    assert (message.content.take_body(), message.chunking) == (b"\xff\r\n", False)
    engine.answer(OK)
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == (
        b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n354 Go ahead\r\n250 2.0.0 Ok\r\n"
    )


def test_wants_print_as_words() -> None:
    assert (repr(NEED_DATA), repr(PAUSE)) == ("NEED_DATA", "PAUSE")


def test_much_that_was_sent_ahead_is_not_done_in_one_go() -> None:
    engine = with_recipient()
    engine.receive(b"BDAT 0\r\n" * 1000)
    assert isinstance(engine.next_event(), DataStart)
    engine.answer(GO_AHEAD)
    pauses = 0
    while engine.next_event() is PAUSE:
        pauses += 1
        assert engine.data_to_send().count(b"\r\n") < 50
    assert pauses > 30


def test_a_pause_comes_between_events_too() -> None:
    engine = greeted()
    engine.receive(b"MAIL FROM:<a@example.org>\r\nRSET\r\n" * 100)
    seen = []
    while (event := engine.next_event()) is not NEED_DATA:
        seen.append(event)
        if isinstance(event, MailFrom):
            engine.answer(OK)
    assert seen.count(PAUSE) == 6
    assert len(seen) == 106


def test_replies_are_coalesced_and_drained() -> None:
    engine = greeted()
    engine.receive(b"NOOP\r\nNOOP\r\n")
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b"250 2.0.0 Ok\r\n" * 2
    assert engine.data_to_send() == b""


def test_nothing_goes_on_before_the_answer() -> None:
    engine = greeted()
    engine.receive(b"MAIL FROM:<a@example.org>\r\nNOOP\r\n")
    assert isinstance(engine.next_event(), MailFrom)
    with pytest.raises(RuntimeError):
        engine.next_event()
    assert engine.data_to_send() == b""
    engine.answer(OK)
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b"250 2.0.0 Ok\r\n" * 2


def test_misuse_is_told() -> None:
    engine = new_engine()
    with pytest.raises(RuntimeError):
        engine.answer(OK)
    with pytest.raises(RuntimeError):
        engine.accept_hello(Extensions())
    with pytest.raises(RuntimeError):
        engine.tls_started()
    with pytest.raises(RuntimeError):
        engine.refuse_message(BUSY)
    engine.greet(BANNER)
    with pytest.raises(RuntimeError):
        engine.greet(BANNER)
    engine.receive(b"EHLO client.example\r\n")
    engine.next_event()
    with pytest.raises(RuntimeError):
        engine.answer(OK)  # accept_hello is the positive answer
    engine.answer(BUSY)
    assert engine.next_event() is NEED_DATA


def test_the_first_chunk_asks_with_its_size_and_says_nothing_if_accepted() -> None:
    engine = with_recipient()
    engine.receive(b"BDAT 5\r\nab")
    assert engine.next_event() == DataStart(chunking=True, size_bytes=5)
    engine.answer(GO_AHEAD)
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b""
    assert engine.in_message
    assert engine.message_bytes == 2
    engine.receive(b"c\r\nBDAT 0 LAST\r\n")
    message = engine.next_event()
    assert isinstance(message, Message)
    assert (message.content.take_body(), message.chunking) == (b"abc\r\n", True)
    assert engine.data_to_send() == b"250 2.0.0 5 bytes received\r\n"


def test_the_declared_size_goes_before_the_chunks() -> None:
    engine = with_recipient(parameters=b" SIZE=77")
    engine.receive(b"BDAT 5\r\n")
    assert engine.next_event() == DataStart(chunking=True, size_bytes=77)


@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_a_refused_first_chunk_is_swallowed_before_the_refusal_is_sent(last: bytes) -> None:
    engine = with_recipient()
    engine.receive(b"BDAT 6%s\r\nQU" % last)
    assert isinstance(engine.next_event(), DataStart)
    engine.answer(BUSY)
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b""
    engine.receive(b"IT\r\nMAIL FROM:<c@example.org>\r\n")
    assert isinstance(engine.next_event(), MailFrom)
    assert engine.data_to_send() == b"452 4.3.1 Busy\r\n"
    assert engine.errors == 0


def test_refused_data_ends_the_transaction() -> None:
    engine = with_recipient()
    engine.receive(b"DATA\r\n")
    assert isinstance(engine.next_event(), DataStart)
    engine.answer(BUSY)
    engine.receive(b"MAIL FROM:<c@example.org>\r\n")
    assert isinstance(engine.next_event(), MailFrom)


def test_message_bytes_count_what_is_held() -> None:
    engine = in_data()
    assert engine.in_message
    assert engine.message_bytes == 0
    engine.receive(b"12345678\r\n12")
    assert engine.message_bytes == 12  # also what has not been looked at yet
    assert engine.next_event() is NEED_DATA
    assert engine.message_bytes == 12
    engine.receive(b"\r\n.\r\n")
    assert isinstance(engine.next_event(), Message)
    assert not engine.in_message
    assert engine.message_bytes == 0


@pytest.mark.parametrize("end", [b"RSET\r\n", b"EHLO again.example\r\n", b"QUIT\r\n", b"DATA\r\n"])
def test_a_transaction_is_known_from_mail_to_its_end(end: bytes) -> None:
    caller = Caller(greeted())
    assert not caller.engine.in_transaction
    caller.feed(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n")
    assert caller.engine.in_transaction
    caller.feed(end)
    if end == b"DATA\r\n":
        assert caller.engine.in_transaction
        caller.feed(b".\r\n")
    assert not caller.engine.in_transaction


def test_a_message_can_be_refused_while_it_comes() -> None:
    engine = in_data()
    engine.receive(b"line\r\n" * 1000)
    assert engine.next_event() is NEED_DATA
    engine.refuse_message(BUSY)
    engine.refuse_message(OK)  # the first refusal stands
    assert engine.message_bytes == 0
    engine.receive(b"line\r\n" * 1000)
    assert engine.next_event() is NEED_DATA
    assert engine.message_bytes == 0
    assert engine.data_to_send() == b""
    engine.receive(b".\r\nNOOP\r\n")
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b"452 4.3.1 Busy\r\n250 2.0.0 Ok\r\n"
    assert not engine.in_message
    assert engine.errors == 0


def test_a_message_in_chunks_can_be_refused_between_them() -> None:
    engine = with_recipient()
    engine.receive(b"BDAT 3\r\nabc")
    engine.next_event()
    engine.answer(GO_AHEAD)
    assert engine.next_event() is NEED_DATA
    engine.refuse_message(BUSY)
    engine.receive(b"BDAT 3\r\ndef")
    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == b"250 2.0.0 3 bytes received\r\n452 4.3.1 Busy\r\n"
    assert not engine.in_message
    engine.receive(b"BDAT 0 LAST\r\n")
    assert isinstance(engine.next_event(), Violation)


def test_a_large_message_is_not_kept() -> None:
    engine = in_data(ServerLimits(max_message_bytes=10_000))
    for _ in range(100):
        engine.receive(b"x" * 98 + b"\r\n" + b"y" * 900 + b"\r\n")
        assert engine.next_event() is NEED_DATA
        assert engine.message_bytes <= 10_000
    assert engine.message_bytes == 0


def test_bytes_before_the_banner_are_noticed_before_and_after_greet() -> None:
    for look_first in (True, False):
        engine = new_engine()
        assert engine.next_event() is NEED_DATA
        engine.receive(b"E")
        if not look_first:
            engine.greet(BANNER)
        event = engine.next_event()
        assert isinstance(event, Violation)
        assert event.kind == "early_talker"
        assert engine.next_event() == Closed("violation")
        assert engine.data_to_send().startswith(b"554 5.5.0 ")


def test_tls_makes_the_engine_forget_all_but_the_errors() -> None:
    engine = greeted()
    engine.receive(b"BOGUS\r\nSTARTTLS\r\n")
    assert isinstance(engine.next_event(), Violation)
    assert isinstance(engine.next_event(), StartTls)
    engine.answer(Reply(220, "2.0.0", ("Go",)))
    assert engine.next_event() is NEED_DATA
    engine.tls_started()
    assert engine.errors == 1
    engine.receive(b"MAIL FROM:<a@example.org>\r\n")
    event = engine.next_event()
    assert isinstance(event, Violation)
    assert event.reply.text == "Send EHLO first"


def test_bytes_in_clear_that_came_with_the_handshake_are_an_injection() -> None:
    engine = greeted()
    engine.receive(b"STARTTLS\r\n")
    engine.next_event()
    engine.answer(Reply(220, "2.0.0", ("Go",)))
    engine.receive(b"EHLO evil\r\n")
    engine.tls_started()
    event = engine.next_event()
    assert isinstance(event, Violation)
    assert event.kind == "starttls_injection"
    assert engine.next_event() == Closed("violation")


def test_a_refused_starttls_leaves_all_as_it_was() -> None:
    engine = greeted()
    engine.receive(b"STARTTLS\r\n")
    engine.next_event()
    engine.answer(Reply(454, "4.7.0", ("TLS not available due to local problem",)))
    engine.receive(b"MAIL FROM:<a@example.org>\r\n")
    assert isinstance(engine.next_event(), MailFrom)


def test_helo_offers_nothing_but_the_size_limit_holds() -> None:
    engine = new_engine()
    engine.greet(BANNER)
    engine.receive(b"HELO client.example\r\n")
    assert engine.next_event() == Hello("HELO", "client.example", True)
    engine.accept_hello(Extensions(size_bytes=5, dsn=True))
    engine.receive(b"MAIL FROM:<a@b> RET=FULL\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    assert isinstance(engine.next_event(), Violation)
    for _ in range(3):
        assert not isinstance(engine.next_event(), Violation)
        engine.answer(GO_AHEAD)
    engine.receive(b"1234\r\n.\r\n")
    event = engine.next_event()
    assert isinstance(event, Violation)
    assert event.kind == "message_too_large"


@pytest.mark.parametrize("pending", [b"", b"MAIL FROM:<a@example.org>\r\n"])
def test_the_caller_can_end_it_at_any_time(pending: bytes) -> None:
    engine = greeted()
    if pending:
        engine.receive(pending)
        engine.next_event()
    engine.close_with(Reply(421, "4.3.2", ("Going down",)))
    assert engine.next_event() == Closed("refused")
    engine.close_with(OK)
    engine.receive(b"NOOP\r\n")
    assert engine.next_event() == Closed("refused")
    assert engine.data_to_send() == b"421 4.3.2 Going down\r\n"
    assert not engine.in_message


def test_the_end_of_the_stream_comes_after_what_was_received() -> None:
    engine = greeted()
    engine.receive(b"MAIL FROM:<a@example.org>\r\nQUI")
    engine.end_of_stream()
    assert isinstance(engine.next_event(), MailFrom)
    engine.answer(OK)
    assert engine.next_event() == Closed("end_of_stream")
    assert engine.next_event() == Closed("end_of_stream")


def test_a_message_cut_off_is_none() -> None:
    engine = in_data()
    engine.receive(b"Subject: x\r\n\r\nhalf\r\n.\r")
    engine.end_of_stream()
    assert engine.next_event() == Closed("end_of_stream")
    assert engine.message_bytes == 0


def test_refusals_count_as_errors_if_they_are_permanent() -> None:
    caller = Caller(new_engine())
    caller.greet()
    caller.feed(b"EHLO client.example\r\n")
    caller.feed(b"MAIL FROM:<deferred@x>\r\nMAIL FROM:<refused@x>\r\nBOGUS\r\n")
    assert caller.engine.errors == 2


def test_the_reference_stands_where_a_connection_ends() -> None:
    caller = Caller(new_engine(reference="K7Q2", tls_required=True))
    caller.greet()
    caller.feed(b"EHLO x\r\n")
    caller.feed(b"BOGUS\r\nMAIL FROM:<a@b>\r\nGET /\r\n")
    replies = caller.sent.split(b"\r\n")[-4:-1]
    assert [b"(ref K7Q2)" in reply for reply in replies] == [False, True, True]
