"""What a checked CEL expression names and calls, read from its serialised syntax tree.

The library compiles and evaluates, and does not tell which variables an expression has; but it
serialises what it has compiled, as the CEL specification says (`cel.expr.CheckedExpr`, protocol
buffers). Only the few fields needed here are read. It must not know what facts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Call", "SyntaxTree", "read_tree"]

# Field numbers of google.protobuf.Any, cel.expr.CheckedExpr, Reference and Expr (cel-spec)
_ANY_VALUE: Final = 2
_REFERENCES: Final = 2
_EXPRESSION: Final = 4
_ENTRY_VALUE: Final = 2
_REFERENCE_NAME, _REFERENCE_OVERLOADS = 1, 3
_CONSTANT, _CALL, _COMPREHENSION = 3, 6, 9
_CONSTANT_STRING: Final = 6
_CALL_FUNCTION, _CALL_ARGUMENTS = 2, 3
_CONTAINERS: Final = {
    5: (1,),  # select: its operand
    6: (1, 3),  # call: its target and its arguments
    7: (1,),  # list: its elements
    9: (2, 4, 5, 6, 7),  # comprehension: range, start, condition, step, result
}
"""Kinds of expressions that hold others, and in which fields."""


class Call(NamedTuple):
    """A call of a function; `text` is its last argument if that is a literal text."""

    function: str
    text: str | None


class SyntaxTree(NamedTuple):
    """What an expression is made of: the variables it names, its calls, how deep its loops are nested."""

    variables: frozenset[str]
    calls: tuple[Call, ...]
    loop_depth: int


def read_tree(serialized: bytes) -> SyntaxTree:
    """Read what `Expression.serialize` has returned."""
    checked = _one(serialized, _ANY_VALUE)
    expression = _one(checked, _EXPRESSION)
    return SyntaxTree(
        variables=frozenset(_variables(checked)),
        calls=tuple(_calls(expression)),
        loop_depth=_loop_depth(expression),
    )


def _variables(checked: bytes) -> Iterator[str]:
    for entry in _all(checked, _REFERENCES):
        reference = _one(entry, _ENTRY_VALUE)
        if not _all(reference, _REFERENCE_OVERLOADS):  # a function has overloads
            yield _one(reference, _REFERENCE_NAME).decode()


def _calls(expression: bytes) -> Iterator[Call]:
    for call in _all(expression, _CALL):
        arguments = _all(call, _CALL_ARGUMENTS)
        literals = _all(_one(arguments[-1], _CONSTANT), _CONSTANT_STRING) if arguments else []
        text = literals[0].decode() if literals else None
        yield Call(_one(call, _CALL_FUNCTION).decode(), text)
    for inner in _inner(expression):
        yield from _calls(inner)


def _loop_depth(expression: bytes) -> int:
    deepest = max(map(_loop_depth, _inner(expression)), default=0)
    return deepest + 1 if _all(expression, _COMPREHENSION) else deepest


def _inner(expression: bytes) -> Iterator[bytes]:
    for kind, places in _CONTAINERS.items():
        for container in _all(expression, kind):
            for place in places:
                yield from _all(container, place)


# --- protocol buffers: a message is a row of (field number, value) --------------------------------


def _one(message: bytes, field: int) -> bytes:
    return next(iter(_all(message, field)), b"")


def _all(message: bytes, field: int) -> list[bytes]:
    """All length-delimited values of a field."""
    return [value for number, value in _fields(message) if number == field]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        kind = key & 7
        if kind == 2:
            size, at = _number(message, at)
            yield key >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _number(message, at)
        else:
            at += 8 if kind == 1 else 4


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number: seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
