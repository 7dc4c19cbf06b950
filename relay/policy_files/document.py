"""A policy file as a document: its tables, and where in its text a mistake is, with a caret below the place.

Knows nothing of what rules, limits and lists are.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.errors import ConfigurationError
from relay.toml_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.toml_lines import KeyPath

__all__ = ["Document", "parse_document"]

_EXCERPT_CHARACTERS: Final = 100


class Document(NamedTuple):
    """A policy file, read: its text, its tables and where they stand."""

    path: str
    text: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def mistake(
        self, key: KeyPath, problem: str, remedy: str, offset: int | None = None
    ) -> ConfigurationError:
        """Make the error for a mistake at a key; `offset` is a place in its text."""
        place = key
        while place not in self.lines:
            place = place[:-1]
        line = self.lines[place]
        if offset is None:
            excerpt = _point_at_value(self.text.splitlines()[line - 1])
        else:
            line, excerpt = _point_at(self.text, line, self._value(key), offset)
        return ConfigurationError(
            problem, remedy=remedy, path=self.path, line=line, excerpt=excerpt
        )

    def _value(self, key: KeyPath) -> str:
        value: Any = self.data
        for part in key:
            value = value[part]
        return str(value)

    def tables(self, kind: str) -> Iterator[tuple[str, dict[str, Any], KeyPath]]:
        """The `[[rule]]` or `[[limit]]` tables: name, table, place."""
        for position, table in enumerate(self.data.get(kind, [])):
            yield table["name"], table, (kind, position)


def parse_document(path: str, text: str) -> Document:
    """Read a file's text. Raises ConfigurationError: it is no TOML."""
    text = text.removeprefix("\ufeff")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        what, _, place = str(error).partition(" (at ")
        digits = "".join(filter(str.isdigit, place.partition(",")[0]))
        line = int(digits) if digits else max(1, len(text.splitlines()))
        raise ConfigurationError(
            f"no valid TOML: {what}",
            remedy="text needs quotes, lists need [brackets]",
            path=path,
            line=line,
        ) from None
    return Document(path, text, data, index_lines(text))


def _point_at(text: str, line: int, value: str, offset: int) -> tuple[int, str]:
    """Find a place in a TOML string: its line, and that line with a caret below the place."""
    row = value.count("\n", 0, offset)
    column = offset - value.rfind("\n", 0, offset) - 1
    shown = value.split("\n")[row]
    for number, source in enumerate(text.splitlines()[line - 1 :], line):
        if shown and shown in source:
            return number, _excerpt(source, source.index(shown) + column)
    return line, _excerpt(shown, column)  # written with escapes


def _point_at_value(source: str) -> str:
    """The same for a whole value."""
    found = re.match(r"[^=\[\]]*=\s*|\s*", source)
    return _excerpt(source, found.end() if found else 0)


def _excerpt(source: str, column: int) -> str:
    """A line with a caret below a place of it; of a long line, what is around the place."""
    start = max(len(source) - len(source.lstrip()), column - _EXCERPT_CHARACTERS // 2)
    shown = source[start : start + _EXCERPT_CHARACTERS].replace("\t", " ")
    return f"    {shown}\n    {' ' * (column - start)}^"
