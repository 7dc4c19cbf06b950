"""Address lists of header fields (RFC 5322 3.4 with the obsolete forms of 4.4, RFC 6532, RFC 6854).

All or nothing: a list that can't be read in full gives None, for half an answer to "who wrote this?"
is how senders are forged. Envelope addresses have a grammar of their own, in `smtp/grammar.py`.

    address-list = address *("," [address])
    address      = mailbox | phrase ":" [mailbox *("," [mailbox])] ";"
    mailbox      = addr-spec | [phrase] "<" [route ":"] addr-spec ">"

One form beyond it is read, for much software writes it: `Jo [ACME] <jo@example.org>`, specials in a display name
that is not quoted, where there is one "@" in all, so that no reader can find another address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from relay.model import Address
from relay.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parse_address_list"]

_TOKEN: Final = re.compile(
    r"""[ \t]+
    | (?P<quoted>"(?:[^"\\\r\n]|\\.)*")
    | (?P<literal>\[[^][\\\r\n]*\])
    | (?P<atom>[^][\x00-\x20\x7f()<>:;@\\,."\ud800-\udfff]+)
    | (?P<special>[<>:;@,.])
    | (?P<comment>\()
    | (?P<broken>[\ud800-\udfff]+)
    """,
    re.VERBOSE,
)
_IN_COMMENT: Final = re.compile(r"[()]|\\.", re.DOTALL)
_DOT_ATOM: Final = r"{0}(?:\.{0})*".format(r"[^][\x00-\x20\x7f()<>:;@\\,.\"\ud800-\udfff]+")
# No comma and no group: of a bare word beside the address some MTAs make an address of their own domain.
_UNQUOTED: Final = re.compile(
    rf"[^\x00-\x08\x0a-\x1f\x7f<>@,:;]*<({_DOT_ATOM})@({_DOT_ATOM})>[ \t]*"
)
_ESCAPED_OR_CLOSED: Final = re.compile(r"\\.|\"[^\"\\]*\"|\([^()\"\\]*\)")

_WORDS: Final = frozenset({"atom", "quoted"})
_ATOMS: Final = frozenset({"atom"})

Token = tuple[str, str]


class _Unreadable(Exception):
    """No address list; never leaves this module."""


@remembered(1024, longest=256)  # services and people write with one From each
def parse_address_list(text: str) -> tuple[Address, ...] | None:
    """Return the addresses in the value of From, To or their like; None if there is none to be had.

    An address in a display name that is not quoted (`a@x <b@x>`, no standard knows it, many
    senders write it) counts as one more address: who reads the message sees it.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        found = _addresses(_tokens(text))
    except _Unreadable:
        found = _only_address(text)
    return tuple(found) or None


def _only_address(text: str) -> list[Address]:
    """Return the one address of a value that is no list by the grammar, for what its display name holds."""
    if (
        "=?" in text
    ):  # of a form that they know from nowhere, some decode the words before they look for the "@"
        return []
    match = _UNQUOTED.fullmatch(text)
    if match is None or _is_open(text[: match.start(1)]):
        return []
    found = Address(match[1], match[2])
    return [found] if _is_sound(found) else []


def _is_open(name: str) -> bool:
    """Whether a quote or a comment goes on: some close it at the end, and the address is in it, not beside it.

    They are left with `ceo` of `ceo (<jo@example.org>`, and make an address of their own domain of it.
    """
    rest = _ESCAPED_OR_CLOSED.sub("", name)
    return '"' in rest or "(" in rest


def _is_sound(address: Address) -> bool:
    """Whether all readers read the same.

    No control characters, no bytes that were no UTF-8, and no encoded words, which some decode before
    they look for the "@" (RFC 2047 5: they can't stand in an address).
    """
    text = str(address)
    return text.isprintable() and "?=" not in text.partition("=?")[2]


_MAX_CHARACTERS: Final = 8 * 1024  # 2 us each at worst, and the loop is held so long


def _tokens(text: str) -> list[Token]:
    """Cut into words and specials; comments and blanks fall out."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _Unreadable
        position = match.end()
        kind = match.lastgroup
        if kind == "comment":
            position = _end_of_comment(text, position)
        elif kind is not None:
            tokens.append((kind, match[0]))
    return tokens


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    for match in _IN_COMMENT.finditer(text, position):
        if match[0] == "(":
            depth += 1  # RFC 5322 3.2.2: comments nest
        elif match[0] == ")":
            depth -= 1
            if not depth:
                if "@" in text[position : match.start()]:  # some look for addresses there, too
                    break
                return match.end()
    raise _Unreadable


def _addresses(tokens: list[Token]) -> list[Address]:
    found: list[Address] = []
    words: list[Token] = []
    is_group = is_closed = False  # closed: after ">" or ";" only a separator may come
    rest = iter(tokens)
    for token in rest:
        mark = token[1] if token[0] == "special" else ""
        if mark in {",", ";"}:
            if words:
                found.append(_addr_spec(words))
                words = []
            if mark == ";":
                if not is_group:
                    raise _Unreadable
                is_group = False
            is_closed = mark == ";"
        elif is_closed:
            raise _Unreadable
        elif mark == "<":
            found += _named_in(words)
            found.append(_angle_address(rest))
            words = []
            is_closed = True
        elif mark == ":":
            if is_group or not words or _named_in(words):
                raise _Unreadable
            is_group = True
            words = []
        elif mark == ">":
            raise _Unreadable
        else:
            words.append(token)
    if words:
        found.append(_addr_spec(words))
    if is_group:
        raise _Unreadable
    return found


def _named_in(phrase: list[Token]) -> list[Address]:
    """Return the address that a display name is, if it is one."""
    if any(kind == "literal" for kind, _ in phrase):
        raise _Unreadable
    return [_addr_spec(phrase)] if ("special", "@") in phrase else []


def _angle_address(rest: Iterator[Token]) -> Address:
    words: list[Token] = []
    for token in rest:
        if token == ("special", ">"):
            return _addr_spec(words)
        if token == ("special", ":"):
            _check_route(words)
            words = []
        else:
            words.append(token)
    raise _Unreadable


def _check_route(words: list[Token]) -> None:
    """Accept `@a,@b`, the route of RFC 5322 4.4, which means nothing any more."""
    if not words or words[0] != ("special", "@"):
        raise _Unreadable
    if any(text in {"<", ";"} for kind, text in words if kind == "special"):
        raise _Unreadable


def _addr_spec(words: list[Token]) -> Address:
    if words.count(("special", "@")) != 1:
        raise _Unreadable
    at = words.index(("special", "@"))
    local, domain = words[:at], words[at + 1 :]
    if len(domain) == 1 and domain[0][0] == "literal":
        found = Address(_dotted(local, _WORDS), domain[0][1])
    else:
        found = Address(_dotted(local, _WORDS), _dotted(domain, _ATOMS))
    if not _is_sound(found):
        raise _Unreadable
    return found


def _dotted(words: list[Token], kinds: frozenset[str]) -> str:
    """Join `word *("." word)`, where a word is of one of these kinds."""
    for index, (kind, text) in enumerate(words):
        if (text != "." or kind != "special") if index % 2 else (kind not in kinds):
            raise _Unreadable
    if len(words) % 2 == 0:
        raise _Unreadable
    return "".join(text for _, text in words)
