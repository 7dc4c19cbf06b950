"""SPF macro strings: read into parts once, filled in for each message (RFC 7208 7).

Knows nothing of records, results or the DNS: what a letter stands for is given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Macro",
    "MacroString",
    "expand",
    "expand_domain",
    "parse_domain_spec",
    "parse_explanation",
    "parse_macro_string",
]

# RFC 7208 7.1: macro-expand, else macro-literal
_PART: Final = re.compile(
    r"%\{(?P<letter>[slodiphcrtv])(?P<digits>\d*)(?P<reverse>r?)(?P<delimiters>[-.+,/_=]*)\}"
    r"|%(?P<escape>[%_-])|(?P<literal>[!-$&-~]+)",
    re.ASCII | re.IGNORECASE,
)
_EXPLANATION_PART: Final = re.compile(_PART.pattern.replace("[!-$&-~]", "[ -$&-~]"), _PART.flags)
# toplabel: letters, digits and hyphens, not all of them digits
_TOP_LABEL: Final = re.compile(
    r"(?!\d*\Z)[0-9a-z](?:[0-9a-z-]*[0-9a-z])?", re.ASCII | re.IGNORECASE
)
_ESCAPES: Final = {"%": "%", "_": " ", "-": "%20"}
_IN_EXPLANATIONS_ONLY: Final = frozenset("crt")
_UNRESERVED: Final = "-._~"  # RFC 3986 2.3, besides letters and digits
_MAX_DOMAIN: Final = 253


class Macro(NamedTuple):
    """`%{d2r.}`: a letter, how many parts of its value from the right (0: all), turned round, split at."""

    letter: str
    parts: int
    is_reversed: bool
    delimiters: str
    is_escaped: bool

    def transform(self, value: str) -> str:
        """Return the parts of a value that are asked for (RFC 7208 7.3)."""
        if self.parts or self.is_reversed or self.delimiters:
            delimiters = self.delimiters or "."
            for delimiter in delimiters:
                value = value.replace(delimiter, delimiters[0])
            parts = value.split(delimiters[0])
            if self.is_reversed:
                parts.reverse()
            value = ".".join(parts[-self.parts :] if self.parts else parts)
        return (
            quote(value, safe=_UNRESERVED, errors="surrogateescape") if self.is_escaped else value
        )


MacroString = tuple["str | Macro", ...]
"""Text and macros in turn."""


def parse_macro_string(text: str) -> MacroString:
    """Read the value of a modifier that is not known.

    Raises:
        ValueError: that is none.
    """
    return _parse(text, _PART)[0]


def parse_explanation(text: str) -> MacroString:
    """Read an explanation: a macro string with spaces, and all letters.

    Raises:
        ValueError: that is none.
    """
    return _parse(text, _EXPLANATION_PART)[0]


def parse_domain_spec(text: str) -> MacroString:
    """Read a domain as terms have it.

    Raises:
        ValueError: that is none.
    """
    parts, ends_in_macro = _parse(text, _PART)
    for part in parts:
        if isinstance(part, Macro) and part.letter in _IN_EXPLANATIONS_ONLY:
            raise ValueError(f'"%{{{part.letter}}}" is for explanations only')
    _, dot, top_label = text.removesuffix(".").rpartition(".")
    if not ends_in_macro and not (dot and _TOP_LABEL.fullmatch(top_label)):
        raise ValueError(f"{text[:60]!a} is no domain name")
    return parts


def expand(parts: MacroString, value_of: Callable[[str], str]) -> str:
    """Fill in what the letters stand for."""
    return "".join(
        [part if isinstance(part, str) else part.transform(value_of(part.letter)) for part in parts]
    )


def expand_domain(parts: MacroString, value_of: Callable[[str], str]) -> str:
    """Fill in a domain; one that is too long loses labels on the left (RFC 7208 7.3)."""
    name = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else expand(parts, value_of)
    name = name.removesuffix(".").lower()
    return name if len(name) <= _MAX_DOMAIN else name[-_MAX_DOMAIN - 1 :].partition(".")[2]


def _parse(text: str, pattern: re.Pattern[str]) -> tuple[MacroString, bool]:
    """Return the parts, and whether the last thing in the text was written with a "%"."""
    parts: list[str | Macro] = []
    at = 0
    ends_in_macro = False
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 10]!a} is no macro")
        part = _part(found)
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
        ends_in_macro = not found["literal"]
        at = found.end()
    return tuple(parts), ends_in_macro


def _part(found: re.Match[str]) -> str | Macro:
    letter, digits = found["letter"], found["digits"]
    if not letter:
        return found["literal"] or _ESCAPES[found["escape"]]
    parts = int(digits[:9] or 0)  # more than any value has
    if digits and not parts:  # RFC 7208 7.1: must be nonzero
        raise ValueError(f"{found[0]!a} asks for no part at all")
    return Macro(
        letter.lower(), parts, bool(found["reverse"]), found["delimiters"], letter.isupper()
    )
