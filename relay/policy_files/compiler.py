"""One stack of policy files compiled: later files over earlier ones, and all mistakes of all of them.

What a rule means is `policy`'s to know; this module knows which file has the last word on it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from relay import catalogue
from relay.errors import ConfigurationError
from relay.mistakes import explain
from relay.policy.compiler import RuleMistake, compile_rule
from relay.policy.engine import Engine
from relay.policy.expressions import Language
from relay.policy.limits import compile_limit
from relay.policy.tables import LimitTable, ListTable, PolicyTable, RuleTable
from relay.policy_files.lists import read_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.policy.limits import Limit
    from relay.policy.lists import NamedList
    from relay.policy.rules import Rule
    from relay.policy_files.document import Document
    from relay.toml_lines import KeyPath

__all__ = ["Compiler"]

_LIST_NAME: Final = "a list is named in small letters, digits and _"
_RESERVED: Final = frozenset(
    {"trust", "next_hop", "relay_denied", "loop", "header_too_long", "hello_syntax", "banned"}
)
"""What the audit field `rule` may hold besides names of rules."""
_MISSING: Final = {
    "at": 'add `at = "sender"` (or connect, hello, recipient, message)',
    "then": 'add `then = "reject"` (or defer, accept, tag, ban, suspend)',
    "count": 'add `count = "messages"` (or recipients, bytes, connections, ...)',
    "key": 'add `key = ["identity.name"]`',
}


@dataclass
class _Layered:
    """One rule or limit as the files say it together: each key with the file that has the last word on it."""

    kind: str = "rule"
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, tuple[Document, KeyPath]] = field(default_factory=dict)
    home: tuple[Document, KeyPath] | None = None

    def put_over(self, table: Mapping[str, Any], document: Document, key: KeyPath) -> None:
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


class Compiler:
    """Puts files over each other and compiles what results; keeps the mistakes until all is read.

    Args:
        read: reads a file that a list names; raises ConfigurationError without a place.
    """

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._mistakes: list[ConfigurationError] = []

    def compile(self, identity: Document, layers: list[Document]) -> Engine:
        """Return the engine of one stack; the rules of `identity` come first.

        Raises:
            ConfigurationError: the first mistake; its `others` are the rest.
        """
        for document in layers:
            self._check_form(document)
        self._raise_mistakes()
        language = Language(catalogue.facts(), self._lists(layers))
        own: dict[str, _Layered] = {}
        for name, table, key in identity.tables("rule"):
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

    def _check_form(self, document: Document) -> None:
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

    def _lists(self, layers: list[Document]) -> dict[str, NamedList]:
        found: dict[str, NamedList] = {}
        for document in layers:
            for name, table in document.data.get("lists", {}).items():
                key = ("lists", name)
                if not name.isidentifier() or not name.islower():
                    self._mistakes.append(
                        document.mistake(key, f"{name!r} can't name a list", _LIST_NAME)
                    )
                    continue
                try:
                    found[name] = read_list(
                        document, key, ListTable.model_validate(table), self._read
                    )
                except ConfigurationError as error:
                    self._mistakes.append(error)
        return found

    def _layer(
        self,
        layers: list[Document],
        kind: str,
        taken: Mapping[str, _Layered] = MappingProxyType({}),
    ) -> dict[str, _Layered]:
        """Put the rules or the limits of later files over those of earlier ones."""
        layered: dict[str, _Layered] = {}
        for document in layers:
            here: set[str] = set()
            for name, table, key in document.tables(kind):
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
