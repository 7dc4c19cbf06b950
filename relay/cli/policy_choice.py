"""Which policy a command is about: the one in force, or it with other files in the place of some.

Reads and compiles; shows nothing and decides nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import ConfigurationError
from relay.material import load_rules, read_text
from relay.policy_files import DEFAULTS, Stack, compile_stacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.config import Configuration
    from relay.model import Identity
    from relay.pki.allowlist import Allowlist
    from relay.policy.engine import Engine
    from relay.policy.facts import Stage

__all__ = ["CURRENT", "Choice", "choose"]

CURRENT = "current"
"""The name of the policy in force, where a command asks for files."""


class Choice(NamedTuple):
    """A policy: the files and the rules of each listener, without and with those of identities."""

    allowlist: Allowlist
    stacks: Mapping[tuple[str, Stack], Stack]
    engines: Mapping[tuple[str, Stack], Engine]

    @property
    def listeners(self) -> tuple[str, ...]:
        """The names of all listeners, in the order of the configuration."""
        return tuple(dict.fromkeys(name for name, _ in self.stacks))

    def listener(self, name: str) -> str:
        """Return the name of a listener that is there; for "" that of the first.

        Raises:
            ConfigurationError: there is none of that name.
        """
        names = self.listeners
        if name and name not in names:
            remedy = f"there are: {', '.join(names)}"
            raise ConfigurationError(f'there is no listener "{name}"', remedy=remedy)
        return name or names[0]

    def identity(self, name: str) -> Identity | None:
        """Return the identity of a name; for "" None: nobody known.

        Raises:
            ConfigurationError: there is none of that name.
        """
        found = self.allowlist.find(name) if name else None
        if name and found is None:
            remedy = "`gatepost pin list` shows them"
            raise ConfigurationError(f'there is no identity "{name}"', remedy=remedy)
        return found

    def key(self, listener: str, identity: str) -> tuple[str, Stack]:
        """Under which key the rules of a listener stand, with those of an identity over them."""
        known = self.allowlist.find(identity) if identity else None
        return listener, known.policy if known else ()

    def engine(self, listener: str, identity: str) -> Engine | None:
        """The rules under that key; None if there is no such listener."""
        return self.engines.get(self.key(listener, identity))

    def stage_of(self, rule: str) -> Stage | None:
        """The stage of a rule, if there is one of that name."""
        rules = (each for engine in self.engines.values() for each in engine.rules)
        return next((each.at for each in rules if each.name == rule), None)


def choose(configuration: Configuration, replacements: Sequence[Path] = ()) -> Choice:
    """Compile the policy in force, with files in the place of some.

    Args:
        configuration: which says what is in force.
        replacements: policy files, or folders of them. One stands in for the file in force of the same
            name; a file whose name is new is put over all others. `CURRENT` changes nothing.

    Raises:
        ConfigurationError: the first mistake; its `others` are the rest.
    """
    allowlist, policies = load_rules(configuration)
    in_force = {
        (name, addition): stack + addition
        for name, stack in policies.stacks.items()
        for addition in ((), *sorted(policies.additions))
    }
    swap = _Swap(path for stack in in_force.values() for path in stack)
    for each in replacements:
        if str(each) != CURRENT:
            swap.put(each)
    stacks = {key: swap.stack(stack) for key, stack in in_force.items()}
    engines = compile_stacks(stacks.values(), swap.read)
    return Choice(allowlist, stacks, {key: engines[stack] for key, stack in stacks.items()})


class _Swap:
    """Files that stand in for others; what they refer to is looked for beside the others, too."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = dict.fromkeys(paths)
        self._by_path: dict[str, str] = {}
        self._folders: dict[Path, Path] = {}
        self._over: Stack = ()

    def put(self, place: Path) -> None:
        """Take up a file or a folder."""
        if place.is_dir():
            for file in sorted(place.rglob("*.toml")):
                self._stand_in(file)
            if not set(self._by_path.values()) & set(map(str, place.rglob("*.toml"))):
                raise ConfigurationError(
                    "no file here has the name of a policy file in force",
                    remedy=f"those are: {', '.join(self._paths) or 'none'}",
                    path=place,
                )
        elif not place.is_file():
            raise ConfigurationError(
                "is not there", remedy="name a policy file or a folder of them", path=place
            )
        elif not self._stand_in(place):
            self._over += (str(place),)

    def stack(self, stack: Stack) -> Stack:
        """Return the files to compile instead."""
        return (*(self._by_path.get(path, path) for path in stack), *self._over)

    def read(self, path: str) -> str:
        """Read a file, or the one in force where there is none beside a file that stands in."""
        file = Path(path)
        if not file.exists():
            for folder, original in self._folders.items():
                if file.is_relative_to(folder):
                    return read_text(original / file.relative_to(folder))
        return read_text(file)

    def _stand_in(self, file: Path) -> bool:
        """Let a file stand in for the one most like it in name and folders; whether there is one."""
        likeness = {path: _common_end(_file_of(path), file) for path in self._paths}
        best = max(likeness.values(), default=0)
        if not best:
            return False
        found = [path for path, score in likeness.items() if score == best]
        if len(found) > 1:
            raise ConfigurationError(
                f"could stand in for {' or '.join(found)}",
                remedy="put it into a folder that is called as the one there",
                path=file,
            )
        self._by_path[found[0]] = str(file)
        if found[0] != DEFAULTS:
            self._folders[file.parent] = Path(found[0]).parent
        return True


def _file_of(path: str) -> Path:
    return Path(f"{DEFAULTS}.toml") if path == DEFAULTS else Path(path)


def _common_end(one: Path, other: Path) -> int:
    """How many parts of two paths are the same, from the end."""
    return sum(1 for _ in _same(one.parts[::-1], other.parts[::-1]))


def _same(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            return
        yield mine
