"""Values with parameters, as Content-Type and Content-Disposition have them.

    value     = word *(";" name "=" (token / quoted-string))
    name*0*=  long values in pieces, foreign letters in per cent (RFC 2231 3, 4)

Read as lenient readers do, and never failing: what readers may read differently is named in
`defects`. RFC 2045 5.1, RFC 2183 2, RFC 2231; encoded words in quoted strings, which RFC 2047 5
forbids and everybody writes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from relay.mail.charsets import decode, decode_words
from relay.remembered import remembered

__all__ = ["Parameterized", "parse_parameterized"]

MAX_VALUE_BYTES: Final = 8 * 1024
_MAX_PIECES: Final = 100
_HEAD: Final = re.compile(r"[^;(]*(?:\([^()]*\)[^;(]*)*")
_COMMENT: Final = re.compile(r"\([^()]*\)")
_PARAMETER: Final = re.compile(
    r"""\s*([^\s=;*"]+)(?:\*(\d{1,3}))?(\*)?\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)[^;]*(?:;|\Z)""",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Parameterized(NamedTuple):
    """A value and its parameters.

    `value` is in lower case. `parameters` has each name in lower case with all values that readers
    may find for it, the one of RFC 2231 first. Defects: "long_value", "unclosed_quote",
    "unquoted_blank", "two_values", "lost_piece", "bad_parameter".
    """

    value: str
    parameters: dict[str, tuple[str, ...]]
    defects: tuple[str, ...]

    def first(self, name: str) -> str:
        """Return the value of a parameter, "" if it is not there."""
        return self.parameters.get(name, ("",))[0]


@remembered(512, longest=128)  # "text/plain; charset=utf-8" comes all the time
def parse_parameterized(raw: bytes) -> Parameterized:
    """Read a value, folded or not."""
    reader = _Reader()
    if len(raw) > MAX_VALUE_BYTES:
        reader.defects["long_value"] = None
        raw = raw[:MAX_VALUE_BYTES]
    text = raw.replace(b"\r\n", b"").decode("utf-8", "surrogateescape")
    head = _HEAD.match(text)
    assert head is not None  # it may be empty
    # Only here: further on it is a file called "report (1).pdf".
    value = _COMMENT.sub("", head[0])
    rest = text[head.end() :].partition(";")[2]
    position = 0
    while position < len(rest):
        found = _PARAMETER.match(rest, position)
        if found is not None:
            reader.take(*found.groups())
            position = found.end()
        else:
            end = rest.find(";", position)
            reader.skip(rest[position : end if end >= 0 else None])
            position = end + 1 or len(rest)
    return Parameterized(value.strip().lower(), reader.parameters(), tuple(reader.defects))


class _Reader:
    """Gathers the parameters of one value, pieces and plain ones apart."""

    def __init__(self) -> None:
        self.defects: dict[str, None] = {}
        self._plain: dict[str, list[str]] = {}
        self._pieces: dict[str, dict[int, tuple[str, bool]]] = {}

    def take(self, name: str, number: str | None, star: str | None, raw: str) -> None:
        name = name.lower()
        text = self._unquoted(raw)
        if number is None and star is None:
            self._plain.setdefault(name, []).append(decode_words(text))
        elif int(number or 0) < _MAX_PIECES:
            pieces = self._pieces.setdefault(name, {})
            if int(number or 0) in pieces:
                self.defects["two_values"] = None
            pieces.setdefault(int(number or 0), (text, star is not None))

    def skip(self, text: str) -> None:
        """Pass over what is no parameter."""
        if text.strip():
            self.defects["bad_parameter"] = None

    def _unquoted(self, raw: str) -> str:
        if len(raw) > 1 and raw[0] == raw[-1] == '"':
            return _ESCAPED.sub(r"\1", raw[1:-1])
        text = raw.strip()
        if text.startswith('"'):
            self.defects["unclosed_quote"] = None
            return text[1:]
        if " " in text or "\t" in text:
            self.defects["unquoted_blank"] = None
        return text

    def parameters(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name in {**self._pieces, **self._plain}:
            values = [self._joined(self._pieces[name])] if name in self._pieces else []
            values += self._plain.get(name, [])
            if len(set(values)) > 1:
                self.defects["two_values"] = None
            found[name] = tuple(dict.fromkeys(values))
        return found

    def _joined(self, pieces: dict[int, tuple[str, bool]]) -> str:
        """Join the pieces in order; the first says in which character set (RFC 2231 4.1)."""
        charset, data = "utf-8", b""
        for number, expected in zip(sorted(pieces), range(_MAX_PIECES), strict=False):
            if number != expected:
                self.defects["lost_piece"] = None
            text, is_encoded = pieces[number]
            if is_encoded and not data and text.count("'") >= 2:
                charset, _, text = text.split("'", 2)
            octets = text.encode("utf-8", "surrogateescape")
            data += unquote_to_bytes(octets) if is_encoded else octets
        return decode(data, charset)
