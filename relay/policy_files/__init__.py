"""Policy files: read, put one over the other, and compiled to an engine for each listener.

Every mistake is found here, with its file, its line and a caret under the place. What rules mean is
`policy`'s to know; this package knows where they stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relay.policy_files.compiler import Compiler
from relay.policy_files.document import parse_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay.policy.engine import Engine
    from relay.policy_files.document import Document

__all__ = ["DEFAULTS", "Policies", "Stack", "compile_stacks", "load_policies"]

Stack = tuple[str, ...]
"""Policy files, the later ones over the earlier ones."""

DEFAULTS: Final = "defaults"
"""The name of the policy that comes with the relay."""

_PACKAGE: Final = "relay.policy"


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
    documents: dict[str, Document] = {}
    engines: dict[Stack, Engine] = {}
    identity = parse_document(
        "identity.toml", files(_PACKAGE).joinpath("identity.toml").read_text()
    )
    for stack in stacks:
        for name in stack:
            if name not in documents:
                documents[name] = parse_document(name, _read(name, read))
        if stack not in engines:
            layers = [documents[name] for name in stack]
            engines[stack] = Compiler(read).compile(identity, layers)
    return engines


def _read(name: str, read: Callable[[str], str]) -> str:
    if name == DEFAULTS:
        return files(_PACKAGE).joinpath("defaults.toml").read_text()
    return read(name)
