"""The mail data on their way in, by DATA or by BDAT: from the first byte to what their end is told.

It must not know what is asked or told besides: what is found is returned, and the engine passes it
on (RFC 5321 4.1.1.4, 3030 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.smtp import server_replies as replies
from relay.smtp.commands import Command, parse_bdat
from relay.smtp.events import DataStart, Message
from relay.smtp.reception import Chunk
from relay.smtp.states import State

if TYPE_CHECKING:
    from relay.smtp.conversation import Conversation
    from relay.smtp.framing import InputBuffer
    from relay.smtp.replies import Reply
    from relay.smtp.server_replies import Fault

__all__ = ["begin_chunk", "read_mail_data"]


def read_mail_data(
    conversation: Conversation, source: InputBuffer
) -> Message | Fault | Reply | None:
    """Take what there is of a chunk, or of what comes by DATA; None if its end has not come."""
    if conversation.chunk is not None:
        return _read_chunk(conversation, conversation.chunk, source)
    reception = conversation.reception
    assert reception is not None
    if not source:
        return None
    is_whole = reception.read_data(source)
    if reception.content.has_bare_newline:
        return replies.BARE_NEWLINE
    if not is_whole:
        return None
    fault = reception.fault()
    if fault is None:
        return Message(reception.content, chunking=False)
    conversation.end_message()
    return fault


def begin_chunk(
    conversation: Conversation, argument: bytes, objection: Fault | None
) -> DataStart | Fault | None:
    """Begin a chunk of BDAT, which is read even if there is an objection; the first one asks."""
    parsed = parse_bdat(argument)
    if parsed is None:
        # Where the chunk ends nobody knows: its content would be taken for commands.
        return replies.BDAT_SYNTAX
    if objection is None and not conversation.offered.chunking:
        objection = replies.NOT_IMPLEMENTED
    size, is_last = parsed
    conversation.chunk = Chunk(size, is_last=is_last, fault=objection)
    if objection is not None:
        return None
    reception = conversation.reception
    assert reception is not None
    reception.content.announce(size)
    if conversation.state is State.RECIPIENT and not reception.content.is_too_large:
        return DataStart(chunking=True, size_bytes=reception.sender.size_bytes or size)
    conversation.move(Command.BDAT)
    return None


def _read_chunk(
    conversation: Conversation, chunk: Chunk, source: InputBuffer
) -> Message | Fault | Reply | None:
    reception = conversation.reception
    content = reception.content if reception is not None and chunk.fault is None else None
    is_whole = chunk.read(source, content)
    if content is not None and content.has_bare_newline:
        return replies.BARE_NEWLINE
    return _end_of_chunk(conversation, chunk) if is_whole else None


def _end_of_chunk(conversation: Conversation, chunk: Chunk) -> Message | Fault | Reply:
    conversation.chunk = None
    reception, fault = conversation.reception, chunk.fault
    if fault is None:
        assert reception is not None
        fault = reception.fault()
        if fault is None and chunk.is_last:
            return Message(reception.content, chunking=True)
    if fault is None:
        return replies.chunk_done(chunk.size_bytes)
    conversation.chunk_refused(is_last=chunk.is_last)
    return fault
