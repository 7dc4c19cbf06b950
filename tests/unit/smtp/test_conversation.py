"""Where what happens leads, beyond the table of states."""

from __future__ import annotations

import pytest

from relay.model import Address, Recipient, Sender
from relay.smtp.commands import Command
from relay.smtp.conversation import ANSWERED, NOTHING_OFFERED, Conversation
from relay.smtp.events import DataStart, Hello, MailFrom, Message, Question, RcptTo, StartTls
from relay.smtp.extensions import Extensions
from relay.smtp.framing import Content
from relay.smtp.reception import Chunk
from relay.smtp.replies import Reply
from relay.smtp.states import TRANSITIONS, State

OK = Reply(250, "2.0.0", ("Ok",))
BUSY = Reply(452, "4.3.1", ("Busy",))
OFFER = Extensions(chunking=True)

MAIL = MailFrom(Sender(Address("a", "example.org")))
RCPT = RcptTo(Recipient(Address("b", "example.com")))
DATA = DataStart(chunking=False, size_bytes=0)
BDAT = DataStart(chunking=True, size_bytes=5)
MESSAGE = Message(Content(0, 998), chunking=False)


def answered(conversation: Conversation, question: Question, reply: Reply) -> None:
    ANSWERED[type(question)](conversation, question, reply)


def after(*accepted: Question, max_idle_commands: int = 100) -> Conversation:
    conversation = Conversation(998, max_idle_commands, tls_required=False)
    conversation.banner_sent()
    conversation.greeted(OFFER, 10_000, 3)
    for question in accepted:
        answered(conversation, question, OK)
    return conversation


def in_chunk(*, is_last: bool = False) -> Conversation:
    conversation = after(MAIL, RCPT)
    conversation.chunk = Chunk(5, is_last=is_last, fault=None)
    return conversation


@pytest.mark.parametrize(
    ("before", "question", "accepted", "refused"),
    [
        ([], StartTls(), State.HANDSHAKE, State.READY),
        ([], MAIL, State.SENDER, State.READY),
        ([MAIL], RCPT, State.RECIPIENT, State.SENDER),
        ([MAIL, RCPT], RCPT, State.RECIPIENT, State.RECIPIENT),
        ([MAIL, RCPT], DATA, State.CONTENT, State.READY),
        ([MAIL, RCPT, DATA], MESSAGE, State.READY, State.READY),
    ],
)
def test_where_an_answer_leads(
    before: list[Question], question: Question, accepted: State, refused: State
) -> None:
    for reply, state in ((OK, accepted), (BUSY, refused)):
        conversation = after(*before)
        answered(conversation, question, reply)
        assert conversation.state is state
        in_transaction = state not in {State.READY, State.HANDSHAKE}
        assert (conversation.reception is not None) == in_transaction


def test_only_accepted_recipients_count() -> None:
    conversation = after(MAIL, RCPT)
    answered(conversation, RCPT, BUSY)
    answered(conversation, RCPT, OK)
    assert conversation.reception is not None
    assert conversation.reception.recipients == 2


@pytest.mark.parametrize(("before", "question"), [([], MAIL), ([MAIL], RCPT)])
def test_a_refusal_is_known_until_the_next_transaction(
    before: list[Question], question: Question
) -> None:
    for ending in ("MAIL", "RSET", "EHLO"):
        conversation = after(*before)
        answered(conversation, question, BUSY)
        assert conversation.has_refused
        if ending == "MAIL":
            conversation.reset()
            conversation.has_refused = True
            answered(conversation, MAIL, OK)
        elif ending == "RSET":
            conversation.reset()
        else:
            conversation.greeted(OFFER, 0, 0)
        assert not conversation.has_refused


def test_a_greeting_begins_anew_with_what_is_agreed_now() -> None:
    conversation = after(MAIL, RCPT)
    conversation.greeted(NOTHING_OFFERED, 20_000, 5)
    assert (conversation.state, conversation.reception) == (State.READY, None)
    assert conversation.offered == NOTHING_OFFERED
    assert (conversation.max_message_bytes, conversation.max_recipients) == (20_000, 5)


def test_a_refused_greeting_changes_nothing_but_is_no_progress() -> None:
    conversation = after(max_idle_commands=1)  # the greeting that was accepted
    answered(conversation, Hello("EHLO", "x", is_valid=True), BUSY)
    assert (conversation.state, conversation.offered) == (State.READY, OFFER)
    assert conversation.errors == 1


def test_tls_forgets_what_was_offered_and_keeps_the_errors() -> None:
    conversation = after(StartTls())
    conversation.errors = 2
    conversation.tls_started()
    assert conversation.tls_active
    assert (conversation.state, conversation.offered) == (State.START, NOTHING_OFFERED)
    assert conversation.errors == 2


def test_idle_commands_are_errors_when_they_are_too_many_since_the_last_mail() -> None:
    conversation = after(max_idle_commands=3)
    conversation.count_idle()
    conversation.count_idle()
    assert conversation.errors == 0
    conversation.count_idle()
    assert conversation.errors == 1
    answered(conversation, MAIL, BUSY)
    conversation.count_idle()
    assert conversation.errors == 2
    answered(conversation, MAIL, OK)
    conversation.count_idle()
    assert conversation.errors == 2


def test_only_an_accepted_message_makes_up_for_errors() -> None:
    for reply, errors in ((BUSY, 2), (OK, 0)):
        conversation = after(MAIL, RCPT, DATA)
        conversation.errors = 2
        answered(conversation, MESSAGE, reply)
        assert conversation.errors == errors


def test_a_chunk_that_is_refused_by_the_caller_comes_all_the_same() -> None:
    for reply in (OK, BUSY):
        conversation = in_chunk()
        answered(conversation, BDAT, reply)
        assert conversation.state is State.CHUNKS
        assert conversation.chunk is not None
        fault = conversation.chunk.fault
        assert (fault and (fault.kind, fault.reply)) == (None if reply is OK else ("", BUSY))


def test_a_refused_chunk_fails_its_message_until_the_last_one() -> None:
    conversation = in_chunk()
    answered(conversation, BDAT, OK)
    assert conversation.reception is not None
    content = conversation.reception.content
    content.add(b"abc\r\n")
    states = []
    for is_last in (False, False, True):
        conversation.chunk_refused(is_last=is_last)
        states.append(conversation.state)
    assert states == [State.FAILED, State.FAILED, State.READY]
    assert content.kept_bytes == 0
    assert not conversation.reception


@pytest.mark.parametrize("before", [[], [MAIL], [MAIL, RCPT]])
@pytest.mark.parametrize("is_last", [True, False])
def test_a_chunk_out_of_place_leaves_all_as_it_was(before: list[Question], is_last: bool) -> None:
    conversation = after(*before)
    state, reception = conversation.state, conversation.reception
    conversation.chunk_refused(is_last=is_last)
    assert (conversation.state, conversation.reception) == (state, reception)


def test_the_end_leaves_nothing_behind() -> None:
    conversation = in_chunk()
    conversation.close()
    assert conversation.state is State.CLOSED
    assert (conversation.reception, conversation.chunk) == (None, None)


@pytest.mark.parametrize("state", [state for state in State if Command.RSET in TRANSITIONS[state]])
def test_a_reset_forgets_the_message(state: State) -> None:
    conversation = after(MAIL)
    conversation.state, conversation.has_refused = state, True
    conversation.reset()
    assert conversation.state is (State.START if state is State.START else State.READY)
    assert (conversation.reception, conversation.has_refused) == (None, False)
