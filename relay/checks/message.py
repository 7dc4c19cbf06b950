"""The form of a message: its size, and whether its header is one that honest software writes.

Knows nothing of what is in the body: its parts are `mime`'s, its files `attachment`'s, its links
`uri`'s. RFC 5322 2.1.1, 2.2, 3.6.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from relay.mail import headers
from relay.mail.dates import parse_date
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from relay.mail.headers import HeaderBlock
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value
    from relay.ports import Clock

__all__ = ["FACTS", "Settings", "build"]

FACTS: Final = (
    Fact(
        "message.size_bytes",
        FactType.INT,
        Stage.MESSAGE,
        "How long the message is, header included.",
    ),
    Fact("message.header_bytes", FactType.INT, Stage.MESSAGE, "How long its header is."),
    Fact("message.header_fields", FactType.INT, Stage.MESSAGE, "How many header fields it has."),
    Fact(
        "message.received_count",
        FactType.INT,
        Stage.MESSAGE,
        "How many Received fields: hops that it has taken. A loop has many.",
    ),
    Fact(
        "message.missing",
        FactType.STRINGS,
        Stage.MESSAGE,
        'Which of "from", "date" and "message-id" are not there (RFC 5322 3.6).',
    ),
    Fact(
        "message.duplicate",
        FactType.STRINGS,
        Stage.MESSAGE,
        "Fields that may stand once and stand more often, in lower case (RFC 5322 3.6).",
    ),
    Fact(
        "message.header_defects",
        FactType.STRINGS,
        Stage.MESSAGE,
        'What readers may read differently: "no_header", "stray_line", "blank_before_colon", '
        '"blank_line", "control_character".',
    ),
    Fact(
        "message.has_8bit_header",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether the header has bytes that are not ASCII (allowed with SMTPUTF8 only, RFC 6532).",
    ),
    Fact(
        "message.author_count",
        FactType.INT,
        Stage.MESSAGE,
        "How many addresses From has; 0 without exactly one From field that can be read.",
    ),
    Fact(
        "message.author_domains",
        FactType.STRINGS,
        Stage.MESSAGE,
        "Their domains in lower case, each once, in order.",
    ),
    Fact(
        "message.date_valid",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether there is exactly one Date, and it can be read.",
    ),
    Fact(
        "message.date_skew",
        FactType.INT,
        Stage.MESSAGE,
        "How many seconds Date is ahead of our clock, below 0 for the past; 0 if it is not valid.",
    ),
    Fact(
        "message.overlong_line",
        FactType.INT,
        Stage.MESSAGE,
        "The longest line in bytes if it is longer than 998 (RFC 5322 2.1.1), else 0.",
    ),
    Fact(
        "message.has_nul",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether it holds a zero byte. By SMTP none comes in: such a message is refused before.",
    ),
)


class Settings(Table):
    """There is nothing to set: what is looked at follows from the rules."""


def build(_settings: Settings, tools: Tools) -> MessageCheck:
    """Make the check."""
    return MessageCheck(tools.clock)


class MessageCheck:
    """Looks at the header, and at the body only for what can't be known otherwise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def report(self, case: Case, _stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """Report exactly what is wanted."""
        view = _View(case, case.header or headers.split(case.message), self._clock)
        return {name: _READERS[name](view) for name in wanted}


_parse_date: Final = lru_cache(maxsize=16)(parse_date)  # two facts ask for it


class _View:
    """One message as the readers below want it."""

    __slots__ = ("block", "case", "clock", "counts")

    def __init__(self, case: Case, block: HeaderBlock, clock: Clock) -> None:
        self.case = case
        self.block = block
        self.clock = clock
        self.counts: dict[bytes, int] = {}
        for field in block.fields:
            self.counts[field.name] = self.counts.get(field.name, 0) + 1

    @property
    def header(self) -> bytes:
        """The bytes of the header."""
        return self.case.message[: self.block.end]

    @property
    def date(self) -> datetime | None:
        """What Date says, if there is one only and it can be read."""
        if self.counts.get(b"date") != 1:
            return None
        return _parse_date(self.block.value(self.block.named(b"date")[0]))


_MANDATORY: Final = (b"from", b"date", b"message-id")
# RFC 5322 3.6: at most one of each; RFC 2045 3 and its like say the same of theirs by their grammar.
_ONCE: Final = frozenset(
    {
        b"date", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"message-id",
        b"in-reply-to", b"references", b"subject", b"mime-version", b"content-type",
        b"content-transfer-encoding", b"content-disposition", b"content-id",
    }
)  # fmt: skip


def _missing(view: _View) -> tuple[str, ...]:
    return tuple(name.decode() for name in _MANDATORY if name not in view.counts)


def _duplicate(view: _View) -> tuple[str, ...]:
    return tuple(
        name.decode() for name, count in view.counts.items() if count > 1 and name in _ONCE
    )


_HARMLESS: Final = bytes(range(32, 256)) + b"\t\r\n"
_BLANK_BEFORE_COLON: Final = re.compile(rb"^[!-9;-~]+[ \t]+:", re.MULTILINE)
_FOLDED_NAME: Final = re.compile(rb"\n[!-9;-~][^:\r\n]*\r\n[ \t]")  # a field for who unfolds first
_BLANK_LINE: Final = re.compile(rb"\n[ \t]+(?:\r|\Z)")


def _header_defects(view: _View) -> tuple[str, ...]:
    if not view.block.fields:
        return ("no_header",) if view.case.message else ()
    header = view.header
    found = []
    if b"" in view.counts or _FOLDED_NAME.search(header):
        found.append("stray_line")
    if (b" :" in header or b"\t:" in header) and _BLANK_BEFORE_COLON.search(header):
        found.append("blank_before_colon")
    if _BLANK_LINE.search(header):  # some readers end the header there
        found.append("blank_line")
    if header.translate(None, _HARMLESS):
        found.append("control_character")
    return tuple(found)


def _author_domains(view: _View) -> tuple[str, ...]:
    return tuple(dict.fromkeys(author.domain.lower() for author in view.case.authors or ()))


def _date_skew(view: _View) -> int:
    date = view.date
    return 0 if date is None else round((date - view.clock.now()).total_seconds())


_MAX_LINE_BYTES: Final = 998  # RFC 5322 2.1.1


def _overlong_line(view: _View) -> int:
    """Jump from one line end to the last that a line of the longest size so far leaves room for."""
    message = view.case.message
    longest, start, size = _MAX_LINE_BYTES, 0, len(message)
    while size - start > longest:
        end = message.rfind(b"\n", start, start + longest + len("\r\n")) + 1
        if not end:
            end = message.find(b"\r\n", start)
            line = (size if end < 0 else end) - start
            longest = max(longest, line)
            end = start + line + len("\r\n")
        start = end
    return longest if longest > _MAX_LINE_BYTES else 0


_READERS: Final[Mapping[str, Callable[[_View], Value]]] = {
    "message.size_bytes": lambda view: len(view.case.message),
    "message.header_bytes": lambda view: view.block.end,
    "message.header_fields": lambda view: len(view.block.fields),
    "message.received_count": lambda view: view.counts.get(b"received", 0),
    "message.missing": _missing,
    "message.duplicate": _duplicate,
    "message.header_defects": _header_defects,
    "message.has_8bit_header": lambda view: not view.header.isascii(),
    "message.author_count": lambda view: len(view.case.authors or ()),
    "message.author_domains": _author_domains,
    "message.date_valid": lambda view: view.date is not None,
    "message.date_skew": _date_skew,
    "message.overlong_line": _overlong_line,
    "message.has_nul": lambda view: b"\0" in view.case.message,
}
