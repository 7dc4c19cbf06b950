"""Policy files: read, put one over the other, and compiled to an engine for each listener.

Every mistake is found here, with its file, its line and a caret under the place. What rules mean is
`policy`'s to know; this module knows where they stand.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError

from relay import catalogue
from relay.errors import ConfigurationError
from relay.mistakes import explain
from relay.policy.compiler import RuleMistake, compile_rule
from relay.policy.engine import Engine
from relay.policy.expressions import Language
from relay.policy.limits import compile_limit
from relay.policy.lists import ListKind, NamedList, parse_entries
from relay.policy.tables import LimitTable, ListTable, PolicyTable, RuleTable
from relay.toml_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from relay.policy.limits import Limit
    from relay.policy.rules import Rule
    from relay.toml_lines import KeyPath

__all__ = ["DEFAULTS", "Policies", "Stack", "compile_stacks", "load_policies"]

Stack = tuple[str, ...]
"""Policy files, the later ones over the earlier ones."""

DEFAULTS: Final = "defaults"
"""The name of the policy that comes with the relay."""

_EXCERPT_CHARACTERS: Final = 100
_PACKAGE: Final = "relay.policy"
_LIST_NAME: Final = "a list is named in small letters, digits and _"
_RESERVED: Final = frozenset(
    {"trust", "next_hop", "relay_denied", "loop", "header_too_long", "hello_syntax", "banned"}
)
"""What the audit field `rule` may hold besides names of rules."""


class _Document(NamedTuple):
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


@dataclass
class _Layered:
    """One rule or limit as the files say it together: each key with the file that has the last word on it."""

    kind: str = "rule"
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, tuple[_Document, KeyPath]] = field(default_factory=dict)
    home: tuple[_Document, KeyPath] | None = None

    def put_over(self, table: Mapping[str, Any], document: _Document, key: KeyPath) -> None:
        self.home = (document, key)
        for name, value in table.items():
            self.values[name] = value
            self.origins[name] = (document, (*key, name))

    def mistake(
        self, key: str, problem: str, remedy: str, offset: int | None = None
    ) -> ConfigurationError:
        assert self.home is not None
        document, place = self.origins.get(key, self.home)
        said = (
            f'{self.kind} "{self.values["name"]}": {problem}' if "name" in self.values else problem
        )
        return document.mistake(place, said, remedy, offset if key in self.origins else None)


@dataclass(frozen=True)
class Policies:
    """The rules of all listeners, compiled, and what they were made of.

    Attributes:
        stacks: the policy files of each listener, their paths or `DEFAULTS`.
        additions: the policy files of identities that have some, to be put over a listener's.
        texts: what was read, by path: policy files and the files of lists.
        engines: the rules of each listener, without and with each of the additions.
    """

    stacks: Mapping[str, Stack]
    additions: frozenset[Stack]
    texts: Mapping[str, str]
    engines: Mapping[tuple[str, Stack], Engine]

    def paths(self) -> tuple[Path, ...]:
        """Every file that was read, for whoever watches them for changes."""
        return tuple(map(Path, self.texts))


def load_policies(
    stacks: Mapping[str, Stack],
    read: Callable[[str], str],
    additions: Iterable[Stack] = (),
) -> Policies:
    """Read and compile the policies of all listeners.

    Args:
        stacks: the policy files of each listener.
        read: reads a file; raises ConfigurationError without a place.
        additions: the policy files of identities.

    Raises:
        ConfigurationError: the first mistake; its `others` are the rest.
    """
    texts: dict[str, str] = {}

    def remember(path: str) -> str:
        texts[path] = read(path)
        return texts[path]

    chosen = frozenset(additions)
    whole = {
        (name, addition): stack + addition
        for name, stack in stacks.items()
        for addition in ((), *sorted(chosen))
    }
    engines = compile_stacks(whole.values(), remember)
    # Who reads a tag behind us can't tell which listener it came by: none may let one in.
    tags = frozenset[bytes]().union(*(engine.tag_headers for engine in engines.values()))
    for engine in engines.values():
        engine.tag_headers = tags
    return Policies(stacks, chosen, texts, {key: engines[each] for key, each in whole.items()})


def compile_stacks(stacks: Iterable[Stack], read: Callable[[str], str]) -> dict[Stack, Engine]:
    """Compile policies, each a stack of files, a later one over the earlier ones.

    Args:
        stacks: the paths of each; `DEFAULTS` stands for the policy that comes with the relay.
        read: reads a file; raises ConfigurationError without a place.

    Raises:
        ConfigurationError: the first mistake; its `others` are the rest.
    """
    documents: dict[str, _Document] = {}
    engines: dict[Stack, Engine] = {}
    identity = _parse("identity.toml", files(_PACKAGE).joinpath("identity.toml").read_text())
    for stack in stacks:
        for name in stack:
            if name not in documents:
                documents[name] = _parse(name, _read(name, read))
        if stack not in engines:
            layers = [documents[name] for name in stack]
            engines[stack] = _Compiler(read).compile(identity, layers)
    return engines


def _read(name: str, read: Callable[[str], str]) -> str:
    if name == DEFAULTS:
        return files(_PACKAGE).joinpath("defaults.toml").read_text()
    return read(name)


def _parse(path: str, text: str) -> _Document:
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
    return _Document(path, text, data, index_lines(text))


class _Compiler:
    """Puts files over each other and compiles what results; keeps the mistakes until all is read."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._mistakes: list[ConfigurationError] = []

    def compile(self, identity: _Document, layers: list[_Document]) -> Engine:
        """Return the engine of one stack; the rules of `identity` come first.

        Raises:
            ConfigurationError: the first mistake; its `others` are the rest.
        """
        for document in layers:
            self._check_form(document)
        self._raise_mistakes()
        language = Language(catalogue.facts(), self._lists(layers))
        own: dict[str, _Layered] = {}
        for name, table, key in _tables(identity, "rule"):
            own.setdefault(name, _Layered()).put_over(table, identity, key)
        rules = [
            rule
            for each in (*own.values(), *self._layer(layers, "rule", taken=own).values())
            if (rule := self._rule(each, language)) is not None
        ]
        limits = [
            limit
            for each in self._layer(layers, "limit").values()
            if (limit := self._limit(each, language)) is not None
        ]
        self._raise_mistakes()
        return Engine(rules, language, limits)

    def _check_form(self, document: _Document) -> None:
        """Look at keys and types; what a partial rule leaves out may stand in an earlier file."""
        try:
            PolicyTable.model_validate(document.data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            missing = [each for each in details if each["type"] != "missing"]
            listed = explain(missing, PolicyTable) if missing else []
            self._mistakes += [
                document.mistake(each.key, each.problem, each.remedy) for each in listed
            ]
            unnamed = [
                e["loc"] for e in details if e["type"] == "missing" and e["loc"][-1] == "name"
            ]
            self._mistakes += [
                document.mistake(key, f"a {key[0]} without a name", 'add `name = "..."`')
                for key in unnamed
            ]

    def _lists(self, layers: list[_Document]) -> dict[str, NamedList]:
        found: dict[str, NamedList] = {}
        for document in layers:
            for name, table in document.data.get("lists", {}).items():
                key = ("lists", name)
                if not name.isidentifier() or not name.islower():
                    self._mistakes.append(
                        document.mistake(key, f"{name!r} can't name a list", _LIST_NAME)
                    )
                    continue
                listed = self._list(document, key, ListTable.model_validate(table))
                if listed is not None:
                    found[name] = listed
        return found

    def _list(self, document: _Document, key: KeyPath, table: ListTable) -> NamedList | None:
        """Read one list; None where a mistake was noted."""
        try:
            listed = _list_of(table.kind, document, key, table.values)
            if table.file is None:
                if "values" not in table.model_fields_set:
                    raise document.mistake(
                        key, f"the list {key[-1]} has no entries", "add `values` or `file`"
                    )
                return listed
            path = str(Path(document.path).parent / table.file)
            try:
                text = self._read(path)
            except ConfigurationError as error:
                raise document.mistake((*key, "file"), error.problem, error.remedy) from None
            return _list_with(table, path, parse_entries(text))
        except ConfigurationError as error:
            self._mistakes.append(error)
            return None

    def _layer(
        self,
        layers: list[_Document],
        kind: str,
        taken: Mapping[str, _Layered] = MappingProxyType({}),
    ) -> dict[str, _Layered]:
        """Put the rules or the limits of later files over those of earlier ones."""
        layered: dict[str, _Layered] = {}
        for document in layers:
            here: set[str] = set()
            for name, table, key in _tables(document, kind):
                place = (*key, "name")
                if name in here:
                    self._mistakes.append(
                        document.mistake(
                            place, f'two {kind}s are named "{name}"', "give each its own name"
                        )
                    )
                elif name in taken or (kind == "rule" and name in _RESERVED):
                    self._mistakes.append(
                        document.mistake(
                            place,
                            f'"{name}" is taken: what it stands for is always in force',
                            "choose another name",
                        )
                    )
                here.add(name)
                layered.setdefault(name, _Layered(kind)).put_over(table, document, key)
        return layered

    def _rule(self, layered: _Layered, language: Language) -> Rule | None:
        """Compile one rule; None if it is switched off, or a mistake was noted."""
        with self._noting(layered):
            if self._is_on(layered):
                return compile_rule(RuleTable.model_validate(layered.values), language)
        return None

    def _limit(self, layered: _Layered, language: Language) -> Limit | None:
        """Make one limit ready; None as in `_rule`."""
        with self._noting(layered):
            if self._is_on(layered):
                return compile_limit(LimitTable.model_validate(layered.values), language.facts)
        return None

    def _is_on(self, layered: _Layered) -> bool:
        if layered.values.get("enabled") is not False:
            return True
        if layered.values.keys() <= {"name", "enabled"}:
            problem = f"there is no such {layered.kind} to switch off"
            self._mistakes.append(layered.mistake("name", problem, "correct its name"))
        return False

    @contextmanager
    def _noting(self, layered: _Layered) -> Iterator[None]:
        """Note the mistakes in a rule or limit."""
        try:
            yield
        except ValidationError as error:
            for each in error.errors(include_url=False):
                key = str(each["loc"][-1])
                self._mistakes.append(
                    layered.mistake(key, f"`{key}` is missing", _MISSING.get(key, f"add `{key}`"))
                )
        except RuleMistake as mistake:
            self._mistakes.append(
                layered.mistake(mistake.key, mistake.problem, mistake.remedy, mistake.offset)
            )

    def _raise_mistakes(self) -> None:
        if self._mistakes:
            unique = {str(each): each for each in self._mistakes}
            first, *others = unique.values()
            first.others = tuple(others)
            raise first


_MISSING: Final = {
    "at": 'add `at = "sender"` (or connect, hello, recipient, message)',
    "then": 'add `then = "reject"` (or defer, accept, tag, ban, suspend)',
    "count": 'add `count = "messages"` (or recipients, bytes, connections, ...)',
    "key": 'add `key = ["identity.name"]`',
}


def _tables(document: _Document, kind: str) -> Iterator[tuple[str, dict[str, Any], KeyPath]]:
    """The `[[rule]]` or `[[limit]]` tables of a file: name, table, place."""
    for position, table in enumerate(document.data.get(kind, [])):
        yield table["name"], table, (kind, position)


def _list_of(kind: ListKind, document: _Document, key: KeyPath, values: Iterable[str]) -> NamedList:
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
