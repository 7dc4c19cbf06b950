"""One message on its way in, from an accepted MAIL to its last byte, by DATA or by BDAT.

It must not know commands, states or what the caller decides; thrown away whole when the message is
answered and at RSET (RFC 5321 4.1.1.4, RFC 3030 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.smtp import server_replies as replies
from relay.smtp.framing import Content, DataReader
from relay.smtp.server_replies import Fault

if TYPE_CHECKING:
    from relay.model import Sender
    from relay.smtp.framing import InputBuffer
    from relay.smtp.replies import Reply

__all__ = ["Chunk", "Reception"]


class Reception:
    """The sender, the number of accepted recipients, and the content so far.

    Args:
        sender: from MAIL.
        max_bytes: of the message; 0 means no limit.
        max_line_bytes: of a line, without CRLF.
    """

    __slots__ = ("_reader", "_refusal", "content", "max_line_bytes", "recipients", "sender")

    def __init__(self, sender: Sender, max_bytes: int, max_line_bytes: int) -> None:
        self.sender = sender
        self.recipients = 0
        self.max_line_bytes = max_line_bytes
        self.content = Content(max_bytes, max_line_bytes)
        self._reader = DataReader(self.content)
        self._refusal: Reply | None = None

    def read_data(self, source: InputBuffer) -> bool:
        """Take what there is of DATA's content; True if its end was there."""
        return source.take_content(self._reader)

    def refuse(self, reply: Reply) -> None:
        """Keep nothing of the content; its end is answered with this, the first refusal."""
        self._refusal = self._refusal or reply
        self.content.drop()

    def fault(self) -> Fault | None:
        """What is wrong with the content as far as it has come, the caller's refusal first.

        The order is fixed, so that the answer does not hang on how the content was cut up.
        """
        if self._refusal is not None:
            return Fault("", self._refusal)
        if self.content.is_too_large:
            return replies.MESSAGE_TOO_LARGE
        if self.content.has_nul:
            return replies.NUL_IN_MESSAGE
        if self.content.has_long_line:
            return replies.line_too_long(self.max_line_bytes)
        return None


class Chunk:
    """A BDAT chunk being read; with a `fault`, which its end will be told, it is read for nothing.

    RFC 3030 2: the content of a refused BDAT is accepted and discarded all the same.
    """

    __slots__ = ("fault", "is_last", "remaining_bytes", "size_bytes")

    def __init__(self, size_bytes: int, *, is_last: bool, fault: Fault | None) -> None:
        self.size_bytes = size_bytes
        self.remaining_bytes = size_bytes
        self.is_last = is_last
        self.fault = fault

    def read(self, source: InputBuffer, content: Content | None) -> bool:
        """Move what there is into the content, or nowhere; True if the chunk is whole."""
        piece = source.take(self.remaining_bytes)
        self.remaining_bytes -= len(piece)
        if content is not None:
            content.add(piece)
            if self.is_last and not self.remaining_bytes:
                content.end()
        return not self.remaining_bytes
