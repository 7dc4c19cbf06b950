"""Letting somebody in: a new identity with its first pin, or the next pin of one that is known.

What may be wrong is found before anything is done, so that no key is made for a pin that then fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from relay.allowlist_file import add_identity, add_pins, read_allowlist
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Pinning", "prepare_pinning"]


class Pinning(NamedTuple):
    """A pin that is going to be added to `path`: `values` are the keys of a new identity."""

    path: Path
    name: str
    values: Mapping[str, Any]
    is_known: bool

    def add(self, pins: Sequence[str]) -> None:
        """Add the pins. Raises ConfigurationError if another identity has one of them."""
        if self.is_known:
            add_pins(self.path, self.name, pins)
            return
        first = {"name": self.name, "pins": list(pins)} if pins else {"name": self.name}
        add_identity(self.path, first | dict(self.values))


def prepare_pinning(path: Path, name: str, values: Mapping[str, Any]) -> Pinning:
    """Check that a pin can be added.

    Raises:
        ConfigurationError: the allowlist has mistakes, or the identity is there and `values` would
            change it behind the operator's back.
    """
    is_known = read_allowlist(path).find(name) is not None
    if is_known and values:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in values)
        raise ConfigurationError(
            f"identity {name!r} is there already",
            remedy=f"leave out {options} to add the pin only, and edit the rest in the file",
            path=path,
        )
    return Pinning(path, name, values, is_known)
