"""What a command asks of the engine's caller, or what is wrong with its argument.

The argument is read against what was offered and what is allowed; that the command may come at all
has been settled (`sequence`). It must not change anything. BDAT is in `mail_data`: only the first
chunk of a message asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.smtp import server_replies as replies
from relay.smtp.commands import Command, parse_hello, parse_mail, parse_rcpt
from relay.smtp.events import DataStart, Hello, MailFrom, RcptTo, StartTls
from relay.smtp.replies import Reply
from relay.smtp.server_replies import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.smtp.conversation import Conversation
    from relay.smtp.events import Question

__all__ = ["QUESTIONS"]


def _hello(_: Conversation, command: Command, argument: bytes) -> Hello | Fault:
    name, is_valid = parse_hello(argument)
    return Hello(str(command), name, is_valid) if name else replies.HELLO_SYNTAX


def _starttls(_: Conversation, __: Command, ___: bytes) -> StartTls:
    return StartTls()


def _mail(conversation: Conversation, _: Command, argument: bytes) -> MailFrom | Fault:
    sender = parse_mail(argument, conversation.offered)
    if isinstance(sender, Reply):
        return Fault("syntax", sender)
    if 0 < conversation.max_message_bytes < sender.size_bytes:  # RFC 1870 6.1
        return replies.MESSAGE_TOO_LARGE
    return MailFrom(sender)


def _rcpt(conversation: Conversation, _: Command, argument: bytes) -> RcptTo | Fault:
    reception = conversation.reception
    assert reception is not None
    if reception.recipients >= conversation.max_recipients:
        # RFC 5321 4.5.3.1.10: no offence, the client sends the rest in another transaction.
        return replies.TOO_MANY_RECIPIENTS
    recipient = parse_rcpt(argument, conversation.offered, smtputf8=reception.sender.smtputf8)
    return Fault("syntax", recipient) if isinstance(recipient, Reply) else RcptTo(recipient)


def _data(conversation: Conversation, _: Command, __: bytes) -> DataStart:
    assert conversation.reception is not None
    return DataStart(chunking=False, size_bytes=conversation.reception.sender.size_bytes)


QUESTIONS: Final[Mapping[Command, Callable[[Conversation, Command, bytes], Question | Fault]]] = {
    Command.EHLO: _hello,
    Command.HELO: _hello,
    Command.STARTTLS: _starttls,
    Command.MAIL: _mail,
    Command.RCPT: _rcpt,
    Command.DATA: _data,
}
"""The commands that the caller decides on."""
