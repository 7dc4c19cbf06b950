"""Every exception that crosses a package border.

A no is a value, a broken world is an exception: a refusal is a `Reply` or a `TrustDecision`,
never one of these. Exception text goes to the log, never on the wire.

    GatepostError
    ├── ConfigurationError   the operator's mistake: file, line, problem, remedy
    ├── StreamError          the other side of a connection, as bytes
    │   ├── ConnectionLost   it went away (reset, or end of stream in the middle of something)
    │   ├── DeadlinePassed   it was too slow
    │   └── HandshakeFailed  no TLS came about
    └── Unavailable          something outside did not answer in a usable way
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from relay.tls.clienthello import ClientHello

__all__ = [
    "ConfigurationError",
    "ConnectionLost",
    "DeadlinePassed",
    "GatepostError",
    "HandshakeFailed",
    "StreamError",
    "Unavailable",
]


class GatepostError(Exception):
    """The root of all exceptions of this package."""


class ConfigurationError(GatepostError):
    """One mistake in a file the operator wrote.

    `str()` is the one line the operator sees: ``file:line: problem; remedy``. `excerpt`, if there is
    one, follows it: the line of the file, and below it a caret under the place. `others` are further
    mistakes found in the same go, each a line of its own.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        path: Path | str | None = None,
        line: int | None = None,
        others: tuple[ConfigurationError, ...] = (),
        excerpt: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.path = path
        self.line = line
        self.others = others
        self.excerpt = excerpt

    def __str__(self) -> str:
        place = "" if self.path is None else f"{self.path}:"
        if place and self.line is not None:
            place += f"{self.line}:"
        sentence = f"{place} {self.problem}; {self.remedy}".strip()
        return f"{sentence}\n{self.excerpt}" if self.excerpt else sentence


class StreamError(GatepostError):
    """A connection cannot go on."""


class ConnectionLost(StreamError):
    """The other side went away."""


class DeadlinePassed(StreamError):
    """The other side did not do what it had to do in time."""


class HandshakeFailed(StreamError):
    """The TLS handshake came to no result.

    Args:
        reason: OpenSSL's or our words, for the log and the audit.
        hello: the client's offer, where we are the server and got as far as reading it.
    """

    def __init__(self, reason: str, hello: ClientHello | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hello = hello


class Unavailable(GatepostError):
    """Something outside could not answer; the sender keeps the mail and comes again (4xx)."""
