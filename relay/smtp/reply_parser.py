"""Bytes from a next hop to replies, strictly (RFC 5321 4.2).

A peer whose replies cannot be read beyond doubt is not believed at all: a lenient parser turns
`550-no` / `250 ok` into "delivered". It must not know which command a reply belongs to.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NoReturn

from relay.errors import Unavailable
from relay.smtp.replies import Reply

__all__ = ["MAX_LINES", "MAX_LINE_BYTES", "ReplyParser"]

MAX_LINE_BYTES = 2048
"""RFC 5321 4.5.3.1.5 says 512; peers with long texts exist, endless lines must not."""

MAX_LINES = 128
"""Lines of one reply."""

# RFC 5321 4.2 limits the second digit to 0-5; codes such as 571 are about, and what to do hangs
# on the first digit alone (4.2.1). A code without text is to be accepted (4.2). CR and LF only
# stand together, as the end of the line (2.3.8).
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*))?\r\n")
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")  # RFC 2034 4, RFC 3463 2


class ReplyParser:
    """Takes bytes as they come, gives whole replies; memory is bounded by the limits above."""

    __slots__ = ("_buffer", "_code", "_position", "_texts")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._code = b""
        self._texts: list[bytes] = []

    @property
    def has_residue(self) -> bool:
        """Whether there are bytes that `next_reply` has not made a reply of."""
        return self._position < len(self._buffer) or bool(self._texts)

    def receive(self, data: bytes) -> None:
        """Take the next bytes of the peer."""
        rest = self._buffer[self._position :]
        self._buffer = rest + data if rest else data
        self._position = 0

    def next_reply(self) -> Reply | None:
        """Return the next reply, None if it is not whole yet.

        Raises:
            Unavailable: the bytes are no reply; nothing of this connection can be believed.
        """
        if not self._texts:
            stop = self._buffer.find(b"\n", self._position, self._position + MAX_LINE_BYTES + 1) + 1
            reply = _single_line(self._buffer[self._position : stop]) if stop else None
            if reply is not None:
                self._position = stop
                return reply
        while self._position < len(self._buffer):
            found = _LINE.match(self._buffer, self._position, self._position + MAX_LINE_BYTES + 1)
            if found is None:
                self._check_beginning()
                return None
            self._position = found.end()
            code, separator, text = found.groups()
            if self._texts and code != self._code:
                # RFC 5321 4.2.1: the same code in every line.
                _refuse("a reply changes its code between lines", found[0])
            self._code = code
            self._texts.append(text or b"")
            if separator != b"-":
                texts, self._texts = self._texts, []
                return _assembled(int(code), texts)
            if len(self._texts) >= MAX_LINES:
                _refuse("a reply has too many lines", found[0])
        return None

    def _check_beginning(self) -> None:
        """Say what is wrong with what is no line; nothing is, if it may yet become one."""
        line, newline, _ = self._buffer[self._position :].partition(b"\n")
        if len(line) > MAX_LINE_BYTES:
            _refuse("a reply has too long a line", line)
        if not newline:
            return
        if line[-1:] != b"\r" or line.find(b"\r") != len(line) - 1:
            _refuse("a reply has a bare CR or LF", line)
        _refuse("a reply is no SMTP reply", line)


@lru_cache(maxsize=64)  # next hops say the same few things again and again
def _single_line(line: bytes) -> Reply | None:
    """The reply that a line is for itself; None if more belong to it, or it is none."""
    found = _LINE.fullmatch(line)
    if found is None or found[2] == b"-":
        return None
    return _assembled(int(found[1]), [found[3] or b""])


def _assembled(code: int, texts: list[bytes]) -> Reply:
    lines = [text.decode("utf-8", "replace") for text in texts]
    found = _ENHANCED.match(lines[0])
    # RFC 2034 4: the class of the enhanced code is the first digit of the reply code.
    if found is None or int(found[1]) != code // 100:
        return Reply(code, "", tuple(lines))
    enhanced = found[0]
    return Reply(code, enhanced, tuple(_without(enhanced, line) for line in lines))


def _without(enhanced: str, line: str) -> str:
    """Cut the enhanced code off, which RFC 2034 4 puts in front of every line."""
    if line == enhanced:
        return ""
    return line[len(enhanced) + 1 :] if line.startswith(f"{enhanced} ") else line


def _refuse(problem: str, line: bytes) -> NoReturn:
    raise Unavailable(f"{problem}: {line[:64]!r}")
