"""What each command asks of the caller, and what is wrong with its argument."""

from __future__ import annotations

import pytest

from relay.model import Address, Recipient, Sender
from relay.smtp import server_replies as replies
from relay.smtp.commands import Command
from relay.smtp.conversation import Conversation
from relay.smtp.events import DataStart, Hello, MailFrom, Question, RcptTo, StartTls
from relay.smtp.extensions import Extensions
from relay.smtp.questions import QUESTIONS
from relay.smtp.reception import Reception
from relay.smtp.server_replies import Fault
from relay.smtp.states import State

A = Address("a", "example.org")


def asked(conversation: Conversation, command: Command, argument: bytes) -> Question | Fault:
    return QUESTIONS[command](conversation, command, argument)


def with_sender(
    sender: Sender | None = None, *, recipients: int = 0, max_message_bytes: int = 1000
) -> Conversation:
    conversation = Conversation(998, 100, tls_required=False)
    conversation.banner_sent()
    conversation.greeted(Extensions(size_bytes=1000, smtputf8=True), max_message_bytes, 2)
    conversation.state = State.SENDER
    conversation.reception = Reception(sender or Sender(A), max_message_bytes, 998)
    conversation.reception.recipients = recipients
    return conversation


def test_who_is_asked_for_what() -> None:
    alone = {Command.RSET, Command.NOOP, Command.VRFY, Command.HELP, Command.QUIT}
    assert set(QUESTIONS) == set(Command) - alone - {Command.BDAT}


@pytest.mark.parametrize(
    ("command", "argument", "question"),
    [
        (Command.EHLO, b"client.example", Hello("EHLO", "client.example", is_valid=True)),
        (Command.HELO, b"client.example", Hello("HELO", "client.example", is_valid=True)),
        (Command.EHLO, b"bad name", Hello("EHLO", "bad name", is_valid=False)),
        (Command.EHLO, b"", replies.HELLO_SYNTAX),
        (Command.STARTTLS, b"", StartTls()),
        (Command.MAIL, b"FROM:<a@example.org>", MailFrom(Sender(A))),
        (Command.MAIL, b"FROM:<a@example.org> SIZE=1000", MailFrom(Sender(A, 1000))),
        (Command.MAIL, b"FROM:<a@example.org> SIZE=1001", replies.MESSAGE_TOO_LARGE),
        (Command.RCPT, b"TO:<a@example.org>", RcptTo(Recipient(A))),
        (Command.DATA, b"", DataStart(chunking=False, size_bytes=0)),
    ],
)
def test_questions(command: Command, argument: bytes, question: Question | Fault) -> None:
    assert asked(with_sender(), command, argument) == question


@pytest.mark.parametrize(
    ("command", "argument", "code"),
    [
        (Command.MAIL, b"TO:<a@example.org>", 501),
        (Command.MAIL, b"FROM:<a@example.org> RET=FULL", 555),  # DSN was not offered
        (Command.RCPT, b"FROM:<a@example.org>", 501),
        (Command.RCPT, b"TO:<a@example.org> NOTIFY=NEVER", 555),
    ],
)
def test_a_wrong_argument_is_the_peers_fault(command: Command, argument: bytes, code: int) -> None:
    fault = asked(with_sender(), command, argument)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.reply.code, fault.closes) == ("syntax", code, False)


def test_without_a_limit_any_size_may_be_declared() -> None:
    question = asked(with_sender(max_message_bytes=0), Command.MAIL, b"FROM:<> SIZE=99999999")
    assert question == MailFrom(Sender(None, 99_999_999))


def test_recipients_are_counted_before_they_are_read() -> None:
    for recipients, argument, is_asked in (
        (1, b"TO:<a@example.org>", True),
        (2, b"TO:<a@example.org>", False),
        (2, b"nonsense", False),
    ):
        found = asked(with_sender(recipients=recipients), Command.RCPT, argument)
        assert found == (RcptTo(Recipient(A)) if is_asked else replies.TOO_MANY_RECIPIENTS)


def test_a_recipient_may_be_international_if_the_sender_said_so() -> None:
    argument = "TO:<jürgen@example.org>".encode()
    for smtputf8 in (True, False):
        found = asked(with_sender(Sender(A, smtputf8=smtputf8)), Command.RCPT, argument)
        assert isinstance(found, RcptTo) == smtputf8


def test_data_tells_the_declared_size() -> None:
    found = asked(with_sender(Sender(A, 77), recipients=1), Command.DATA, b"")
    assert found == DataStart(chunking=False, size_bytes=77)
