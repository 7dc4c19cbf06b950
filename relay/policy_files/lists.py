"""Named lists of policy files: entries that stand in the file, and those of a file of their own.

What an entry may be is `policy`'s to know.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import ConfigurationError
from relay.policy.lists import ListKind, NamedList, parse_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay.policy.tables import ListTable
    from relay.policy_files.document import Document
    from relay.toml_lines import KeyPath

__all__ = ["read_list"]


def read_list(
    document: Document, key: KeyPath, table: ListTable, read: Callable[[str], str]
) -> NamedList:
    """Read one list.

    Args:
        document: the policy file it stands in.
        key: where.
        table: what stands there.
        read: reads a file; raises ConfigurationError without a place.

    Raises:
        ConfigurationError: the first wrong entry, at its line.
    """
    listed = _list_of(table.kind, document, key, table.values)
    if table.file is None:
        if "values" not in table.model_fields_set:
            raise document.mistake(
                key, f"the list {key[-1]} has no entries", "add `values` or `file`"
            )
        return listed
    path = str(Path(document.path).parent / table.file)
    try:
        text = read(path)
    except ConfigurationError as error:
        raise document.mistake((*key, "file"), error.problem, error.remedy) from None
    return _list_with(table, path, parse_entries(text))


def _list_of(kind: ListKind, document: Document, key: KeyPath, values: Iterable[str]) -> NamedList:
    """Make a list of inline entries; a mistake is at the line of its entry."""
    entries = tuple(values)
    for position, entry in enumerate(entries):
        try:
            NamedList(kind, [entry])
        except ConfigurationError as error:
            place = (*key, "values", position)
            raise document.mistake(place, error.problem, error.remedy, 0) from None
    return NamedList(kind, entries)


def _list_with(table: ListTable, path: str, lines: list[tuple[int, str]]) -> NamedList:
    """Make a list of inline entries and those of a file."""
    try:
        return NamedList(table.kind, (*table.values, *(entry for _, entry in lines)))
    except ConfigurationError:
        for number, entry in lines:
            try:
                NamedList(table.kind, [entry])
            except ConfigurationError as error:
                raise ConfigurationError(
                    error.problem, remedy=error.remedy, path=path, line=number
                ) from None
        raise
