"""What one side of an SMTP connection offers in its EHLO reply, as a value (RFC 5321 4.1.1.1, 2.2).

Both engines use it: the server formats one, the client parses one. It knows nothing of
transactions; what may be offered at all is decided by whoever builds the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Extensions", "lower_limit", "parse_extensions"]

_FLAGS = {
    "PIPELINING": "pipelining",  # RFC 2920
    "STARTTLS": "starttls",  # RFC 3207
    "ENHANCEDSTATUSCODES": "enhanced_status_codes",  # RFC 2034
    "8BITMIME": "eightbitmime",  # RFC 6152
    "SMTPUTF8": "smtputf8",  # RFC 6531
    "DSN": "dsn",  # RFC 3461
    "CHUNKING": "chunking",  # RFC 3030
}
_LIMITS = {"RCPTMAX": "rcptmax", "MAILMAX": "mailmax", "RCPTDOMAINMAX": "rcptdomainmax"}
_MAX_DIGITS = 20  # RFC 1870 3: SIZE has at most 20 digits


@dataclass(frozen=True, slots=True)
class Extensions:
    """What is offered.

    `size_bytes` None: SIZE is not offered; 0: offered without a limit (RFC 1870 4). The limits of
    RFC 9422 are 0 where not given. `xclient` and `xforward` hold the attribute names offered.
    """

    size_bytes: int | None = None
    eightbitmime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    chunking: bool = False
    pipelining: bool = False
    starttls: bool = False
    enhanced_status_codes: bool = False
    rcptmax: int = 0
    mailmax: int = 0
    rcptdomainmax: int = 0
    xclient: frozenset[str] = frozenset()
    xforward: frozenset[str] = frozenset()

    def hello_reply(self, hostname: str, verb: str) -> Reply:
        """The positive answer to EHLO, or to HELO, which is told of no extension."""
        if verb == "HELO":
            return Reply(250, "", (hostname,))
        # RFC 2034 3: no enhanced status code in the reply to EHLO.
        return Reply(250, "", (hostname, *_keyword_lines(self)))

    def intersected(self, other: Extensions) -> Extensions:
        """What both offer; of two limits the lower, and a limit that only one gives holds.

        STARTTLS, PIPELINING, CHUNKING and enhanced codes are a matter of one connection: whoever
        relays sets them as it likes afterwards (`dataclasses.replace`).
        """
        values: dict[str, Any] = {
            name: getattr(self, name) and getattr(other, name) for name in _FLAGS.values()
        }
        for name in _LIMITS.values():
            values[name] = lower_limit(getattr(self, name), getattr(other, name))
        return Extensions(
            size_bytes=_lower_size(self.size_bytes, other.size_bytes),
            xclient=self.xclient & other.xclient,
            xforward=self.xforward & other.xforward,
            **values,
        )


@lru_cache(maxsize=16)
def _keyword_lines(offered: Extensions) -> tuple[str, ...]:
    """What follows the greeting in a reply to EHLO; all clients of a listener are told the same."""
    lines = [keyword for keyword, name in _FLAGS.items() if getattr(offered, name)]
    if offered.size_bytes is not None:
        lines.append(f"SIZE {offered.size_bytes}")
    limits = [f"{word}={getattr(offered, name)}" for word, name in _LIMITS.items()
              if getattr(offered, name)]  # fmt: skip
    for keyword, words in (
        ("LIMITS", limits),  # RFC 9422 3
        ("XCLIENT", sorted(offered.xclient)),
        ("XFORWARD", sorted(offered.xforward)),
    ):
        if words:
            lines.append(" ".join((keyword, *words)))
    return tuple(lines)


def lower_limit(one: int, other: int) -> int:
    """The lower of two limits, where 0 is none."""
    return min(one, other) if one and other else one or other


def _lower_size(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return lower_limit(one, other)


def parse_extensions(lines: Sequence[str]) -> Extensions:
    """Read the lines (without codes) of a peer's positive EHLO reply; the first is its greeting.

    Tolerant, as peers vary: keywords in any case, unknown ones and unreadable numbers ignored.
    """
    found: dict[str, list[str]] = {}
    for line in lines[1:]:
        keyword, *words = line.upper().split() or [""]
        found[keyword] = words
    values: dict[str, Any] = {name: keyword in found for keyword, name in _FLAGS.items()}
    for word, _, value in (word.partition("=") for word in found.get("LIMITS", ())):
        if word in _LIMITS:
            values[_LIMITS[word]] = _number(value)
    return Extensions(
        size_bytes=_number("".join(found["SIZE"][:1])) if "SIZE" in found else None,
        xclient=frozenset(found.get("XCLIENT", ())),
        xforward=frozenset(found.get("XFORWARD", ())),
        **values,
    )


def _number(text: str) -> int:
    """A decimal number of the wire, 0 if it is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else 0
