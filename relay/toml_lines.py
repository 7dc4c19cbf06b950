"""On which line each key of a TOML text stands.

`tomllib` reads values and forgets where they were; an operator wants the line. This module knows
nothing of what the keys mean, and reads only what `tomllib` has accepted before (TOML 1.0).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

__all__ = ["KeyPath", "index_lines"]

KeyPath = tuple[str | int, ...]
"""A place in a document: `("listener", 0, "address")`."""

# TOML 1.0: what may stand between two tokens that may be on different lines
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL_STRING = re.compile(r"'[^'\n]*'")
_STRING = re.compile(
    # Up to two quotes may stand right before the closing three.
    r'"""(?:[^\\]|\\.)*?"""(?!")"{0,2}'
    r"|'''.*?'''(?!')'{0,2}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def index_lines(text: str) -> dict[KeyPath, int]:
    """Map every table, key and array element of a valid TOML text to its line, from 1.

    The root is at line 1. Where a table is written in several places, the first counts.

    Raises:
        ValueError: the text is no TOML.
    """
    reader = _Reader(text)
    try:
        reader.read_document()
    except IndexError:
        raise ValueError("not a TOML text") from None
    return reader.lines


class _Reader:
    """Walks once over the text; an IndexError where it is not what TOML allows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {(): 1}
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self._tables: dict[KeyPath, int] = {}  # arrays of tables: how many so far

    def read_document(self) -> None:
        table: KeyPath = ()
        self._skip_blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)
            self._skip_blank()

    def _read_header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`; return the path that the following keys stand under."""
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path = self._resolve(self._read_key())
        self._skip_blank()
        self.at += 2 if is_array else 1
        if is_array:
            self._mark(path, start)
            count = self._tables.get(path, 0)
            self._tables[path] = count + 1
            path = (*path, count)
        self._mark_all(path, start)
        return path

    def _resolve(self, key: tuple[str, ...]) -> KeyPath:
        """Put the current index where a header's key goes through an array of tables.

        `[listener.x]` after the second `[[listener]]` is `("listener", 1, "x")`.
        """
        path: KeyPath = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        return (*path, key[-1])

    def _read_pair(self, table: KeyPath) -> None:
        start = self.at
        path = (*table, *self._read_key())
        self._mark_all(path, start, above=len(table))
        self._skip_blank()
        self.at += 1  # the "="
        self._skip_blank()
        self._read_value(path)

    def _read_key(self) -> tuple[str, ...]:
        parts = []
        while True:
            self._skip_blank()
            parts.append(self._read_key_part())
            self._skip_blank()
            if not self.text.startswith(".", self.at):
                return tuple(parts)
            self.at += 1

    def _read_key_part(self) -> str:
        if self.text[self.at] == '"':
            quoted = self._take(_BASIC_STRING)
            return str(tomllib.loads(f"key = {quoted}")["key"]) if "\\" in quoted else quoted[1:-1]
        if self.text[self.at] == "'":
            return self._take(_LITERAL_STRING)[1:-1]
        return self._take(_BARE_KEY)

    def _read_value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._read_array(path)
        elif first == "{":
            self._read_inline_table(path)
        elif first in "\"'":
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _read_array(self, path: KeyPath) -> None:
        self.at += 1
        count = 0
        self._skip_blank()
        while self.text[self.at] != "]":
            self._mark((*path, count), self.at)
            self._read_value((*path, count))
            count += 1
            self._skip_separator()
        self.at += 1

    def _read_inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self._skip_blank()
        while self.text[self.at] != "}":
            self._read_pair(path)
            self._skip_separator()
        self.at += 1

    def _skip_separator(self) -> None:
        self._skip_blank()
        if self.text[self.at] == ",":
            self.at += 1
            self._skip_blank()

    def _skip_blank(self) -> None:
        self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise IndexError(self.at)
        self.at = found.end()
        return found[0]

    def _mark(self, path: KeyPath, position: int) -> None:
        self.lines.setdefault(path, bisect_right(self._line_ends, position - 1) + 1)

    def _mark_all(self, path: KeyPath, position: int, above: int = 0) -> None:
        """Mark a path and the tables that it brings into being on its way."""
        for depth in range(above + 1, len(path) + 1):
            self._mark(path[:depth], position)
