"""Authentication-Results (RFC 8601): written for those behind us, and those recognised that claim to be ours.

    Authentication-Results: edge.example;
        spf=pass smtp.mailfrom=example.org;
        dkim=fail reason="the body is not what was signed" header.d=example.org

It knows the grammar, and nothing of how results come about. Whoever reads the field behind us believes
what stands under our name, and may read it more leniently than we do: so a field of which the name
can't be made out by the letter of the grammar counts as claiming to be ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mail.idn import to_ascii

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = [
    "FIELD_NAME",
    "MethodResult",
    "canonical_id",
    "claims_to_be",
    "format_results",
    "result_of",
]

FIELD_NAME: Final = "Authentication-Results"

_FOLD: Final = "\r\n\t"
_TOKEN: Final = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")  # RFC 2045 5.1
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*@[A-Za-z0-9._-]+")
_UNSAFE: Final = re.compile(r"[^ -~]+")
_MAX_VALUE: Final = 320  # an address of the longest local part and domain


class MethodResult(NamedTuple):
    """What one method has found: `spf=pass smtp.mailfrom=example.org`.

    `method`, `result` and the names of `properties` ("smtp.mailfrom") are words of ours; values and
    `reason` may come from anybody.
    """

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        text = f"{self.method}={self.result}"
        if self.reason:
            text += f' reason="{_quotable(self.reason)}"'
        return text + "".join(f" {name}={_pvalue(value)}" for name, value in self.properties)


def format_results(authserv_id: str, results: Iterable[object]) -> str:
    """Return the value of the field; each result (a `MethodResult`, or the like as text) has its line."""
    shown = [str(each) for each in results] or ["none"]  # RFC 8601 2.2
    return f";{_FOLD}".join((authserv_id, *shown))


def _pvalue(value: str) -> str:
    """Write what was found somewhere (RFC 8601 2.2 pvalue)."""
    if _TOKEN.fullmatch(value) or _ADDRESS.fullmatch(value):
        return value[:_MAX_VALUE]
    return f'"{_quotable(value)}"'


def _quotable(text: str) -> str:
    safe = _UNSAFE.sub("?", text[:_MAX_VALUE])
    return safe.replace("\\", "\\\\").replace('"', '\\"')


# --- fields of others -----------------------------------------------------------------------------------

_SPECIAL: Final = re.compile(r'["(;]')
_QUOTED_REST: Final = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_IN_COMMENT: Final = re.compile(r"\\.|[()]", re.DOTALL)
_HEAD: Final = re.compile(  # RFC 8601 2.2: authserv-id, version
    r'\s*(?:"(?P<quoted>(?:[^"\\\r\n]|\\[ -~\t])*)"'
    r"|(?P<bare>[!#$%&'*+.0-9A-Z^_`a-z{|}~\u0080-\U0010ffff-]+))(?:\s+[0-9]+)?\s*"
)
_RESULT: Final = re.compile(r"\s*([A-Za-z0-9-]+)\s*(?:/\s*[0-9]+\s*)?=\s*([A-Za-z]+)(?:\s|\Z)")


def claims_to_be(raw: bytes, ids: Collection[str]) -> bool:
    """Whether a field's value may be taken for one that was written under one of these names.

    Args:
        raw: what stands behind the colon, folded as it came.
        ids: names, as `canonical_id` spells them.
    """
    try:
        segments = list(_segments(raw.decode("utf-8")))
    except (UnicodeDecodeError, _Unreadable):
        return True
    head = _HEAD.fullmatch(segments[0])
    if head is None or len(segments) < 2:
        return True
    name = head["bare"] or re.sub(r"\\(.)", r"\1", head["quoted"])
    return canonical_id(name) in {"", *ids}


def canonical_id(name: str) -> str:
    """Spell an authserv-id as it is compared: lower case, A-labels (RFC 8601 2.3); "" if it can't be."""
    try:
        return to_ascii(name.strip().lower()).lower().removesuffix(".")
    except ValueError:
        return ""


def result_of(text: str, method: str) -> str:
    """Return what a value says of a method, in lower case; "" if it says nothing, or two things."""
    try:
        said = [_RESULT.match(segment) for segment in _segments(text)]
    except _Unreadable:
        return ""
    found = {each[2].lower() for each in said[1:] if each and each[1].lower() == method}
    return found.pop() if len(found) == 1 else ""


class _Unreadable(Exception):
    """No value by the grammar; never leaves this module."""


def _segments(text: str) -> Iterator[str]:
    """Cut at each ";", comments taken out (RFC 5322 3.2.2: they nest, and have no quotes)."""
    kept: list[str] = []
    position = 0
    while found := _SPECIAL.search(text, position):
        kept.append(text[position : found.start()])
        position = found.end()
        if found[0] == "(":
            position = _end_of_comment(text, position)
            kept.append(" ")
        elif found[0] == '"':
            rest = _QUOTED_REST.match(text, position)
            if rest is None:
                raise _Unreadable
            position = rest.end()
            kept.append(text[found.start() : position])
        else:
            yield "".join(kept)
            kept.clear()
    yield "".join([*kept, text[position:]])


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    for found in _IN_COMMENT.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    raise _Unreadable
