"""SMTP replies as values (RFC 5321 4.2, enhanced codes RFC 2034 and RFC 3463).

Code, enhanced code and text are one value, so they cannot drift apart. This module knows nothing
of connections; who sends a reply and when is the engines' business.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

__all__ = ["Reply", "format_reply"]

_MAX_LINE_BYTES = 512  # RFC 5321 4.5.3.1.5, CRLF included


class Reply(NamedTuple):
    """One reply: a basic code, an enhanced code (or "" where the RFC has none), and its lines.

    `lines` hold text only, without codes. They are made safe when formatted: what is no printable
    ASCII becomes "?", so text from elsewhere (an upstream, a certificate) can never add a line.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz: done, or go on."""
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: the sender keeps the message and comes again."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: the sender need not try again."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """All lines, joined by a blank."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        """The reply on one line, as logs and audit records have it."""
        return " ".join(part for part in (str(self.code), self.enhanced, *self.lines) if part)


@lru_cache(maxsize=256)
def format_reply(reply: Reply) -> bytes:
    """The reply as it goes on the wire, the enhanced code on every line (RFC 2034 4).

    Most replies are the same ones again and again, so the last ones are kept ready. Lines longer than RFC 5321 allows lose their end.
    """
    code, enhanced, lines = reply
    lead = f"{code} {enhanced} " if enhanced else f"{code} "
    if len(lines) == 1:
        return _format_line(lead, lines[0])
    going_on = lead.replace(" ", "-", 1)
    *most, last = lines or ("",)
    return b"".join((*(_format_line(going_on, line) for line in most), _format_line(lead, last)))


def _format_line(lead: str, text: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return f"{lead}{text[: _MAX_LINE_BYTES - 2 - len(lead)]}\r\n".encode("ascii")
