"""The rules in force as the operator wrote them: each key with the file and line that has the last word.

Reads files that have been compiled before, so it meets no mistakes; knows nothing of listeners.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.policy_files import DEFAULTS, Stack
from relay.toml_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Written", "written_rules"]

_ALWAYS = "identity"
"""The rules that come before all files: they hold identities to their allowlist entries."""


class Written(NamedTuple):
    """One rule or limit: its values, and "file:line" for each of them; `place` is where it begins."""

    kind: str
    name: str
    place: str
    values: dict[str, Any]
    places: dict[str, str]

    @property
    def is_on(self) -> bool:
        """Whether no file has switched it off."""
        return self.values.get("enabled") is not False


def written_rules(stack: Stack, read: Callable[[str], str]) -> list[Written]:
    """Return all rules and limits of policy files put over each other, in the order they are asked."""
    found: dict[tuple[str, str], Written] = {}
    for path in (_ALWAYS, *stack):
        is_ours = path in {_ALWAYS, DEFAULTS}
        text = files("relay.policy").joinpath(f"{path}.toml").read_text() if is_ours else read(path)
        text = text.removeprefix("\ufeff")
        data, lines = tomllib.loads(text), index_lines(text)
        for kind in ("rule", "limit"):
            for position, table in enumerate(data.get(kind, [])):
                key = (kind, position)
                place = f"{path}:{lines[key]}"
                rule = found.setdefault(
                    (kind, table["name"]), Written(kind, table["name"], place, {}, {})
                )
                rule.values.update(table)
                rule.places.update({each: f"{path}:{lines[*key, each]}" for each in table})
    return sorted(found.values(), key=lambda each: each.kind != "rule")
