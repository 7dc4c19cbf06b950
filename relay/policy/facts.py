"""Facts: what checks report and rules ask for, each declared once.

A declaration is the source of the CEL environment, of `docs/facts.md` and of the audit's `facts`.
Values are plain; what could not be found out is `Missing`, which a rule's `on_error` handles.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "NOT_ASKED",
    "Fact",
    "FactType",
    "Facts",
    "Missing",
    "Stage",
    "Value",
    "why_unknown",
]


class Stage(StrEnum):
    """The moments at which the policy is asked, in their order."""

    CONNECT = "connect"
    HELLO = "hello"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class FactType(StrEnum):
    """The CEL type of a fact, spelled as CEL does; a list is a tuple of text here."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    STRINGS = "list(string)"


class Fact(NamedTuple):
    """One fact: `name` is "prefix.word", `stage` the first at which it is known.

    A fact is found out at most once for what its stage is about: once a connection for `connect`
    and `hello`, once a transaction for `sender`, once a recipient, once a message.
    """

    name: str
    type: FactType
    stage: Stage
    doc: str


class Missing(NamedTuple):
    """The value of a fact that could not be found out; `reason` is for the log and the audit.

    `mark` keeps it apart from a list of one text that happens to be the same: as tuples they would be
    equal, and what is remembered of one would be taken for the other's. No fact holds a zero byte.
    """

    reason: str
    mark: str = "\0"


_STAGES = tuple(Stage)


def why_unknown(name: str, known: Stage, at: Stage) -> str:
    """Say why a fact of stage `known` can't be named at another stage; "" if it can.

    Of a recipient only at its own stage: a message may have several, and which one came last, or was
    refused, is the client's choice.
    """
    if known is Stage.RECIPIENT and at is Stage.MESSAGE:
        return f"`{name}` is about one recipient, and a message may have several"
    if _STAGES.index(known) > _STAGES.index(at):
        return f"`{name}` is not known yet at {at}, but at {known} only"
    return ""


NOT_ASKED = Missing("not asked")
"""Stands for a fact that nobody has found out yet."""

Value = bool | int | float | str | tuple[str, ...] | Missing
"""What a fact may be."""


class Facts(dict[str, Value]):
    """Facts by name; one that is not there is `NOT_ASKED`."""

    __slots__ = ()

    def __missing__(self, name: str) -> Value:
        return NOT_ASKED
