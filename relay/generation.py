"""What is in force together: a configuration, what workers are made from, the sockets they listen on.

A reload makes another one. Knows nothing of processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from relay import config
from relay.blueprint import build
from relay.material import load_material
from relay.preparation import close_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from relay.blueprint import Blueprint
    from relay.material import Material
    from relay.settings import Settings

__all__ = ["Generation", "load"]


class Generation(NamedTuple):
    """One generation; `sockets` are by their address, and shared with those before and after."""

    number: int
    configuration: config.Configuration
    blueprint: Blueprint
    sockets: Mapping[str, list[socket.socket]]

    @property
    def settings(self) -> Settings:
        """What the configuration says."""
        return self.configuration.settings

    @property
    def material(self) -> Material:
        """The files that the settings name, read; the allowlist and the rules may be newer."""
        return self.blueprint.material

    def sockets_by_listener(self) -> dict[str, list[socket.socket]]:
        """The sockets of each listener, by its name."""
        return {each.name: self.sockets[each.address] for each in self.settings.listener}

    def close_sockets(self, kept: Iterable[str] = ()) -> None:
        """Let go of the sockets, but of those of some addresses."""
        for address in self.sockets.keys() - set(kept):
            close_all(self.sockets[address])


def load(path: Path, environ: Mapping[str, str]) -> tuple[config.Configuration, Blueprint]:
    """Read all files.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    configuration = config.load(path, environ)
    return configuration, build(load_material(configuration))
