"""What a command has put in force, or taken back, on all nodes that share a state.

The command's own files come first: they must work while the state is away. Knows restrictions, and
nothing of why they are imposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from relay.cli.shared_state import use_store
from relay.errors import GatepostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from relay.cli.site import Site
    from relay.model import Restriction, RestrictionKind
    from relay.ports import Store

__all__ = ["has_state", "lift", "restrict"]

_T = TypeVar("_T")


def has_state(site: Site, *, elsewhere: bool = False) -> bool:
    """Whether there is a state that a command can reach.

    Args:
        site: the site of the command.
        elsewhere: only one that other nodes share counts.
    """
    if site.state is None or site.state_dir is None or site.state.kind == "memory":
        return False
    # Before the first start there is no folder, and nobody who would have to be told.
    return site.state.kind == "redis" or (not elsewhere and site.state_dir.is_dir())


def restrict(site: Site, restrictions: Sequence[Restriction]) -> str:
    """Put restrictions in force on all nodes; return why that was not possible, "" if it was."""
    try:
        _ask(site, lambda store: store.restrict(*restrictions))
    except GatepostError as error:
        return str(error)
    return ""


def lift(site: Site, kind: RestrictionKind, subject: str) -> bool:
    """Take one back on all nodes; return whether there was one. Raises GatepostError."""
    return _ask(site, lambda store: store.lift(kind, subject))


def _ask(site: Site, act: Callable[[Store], Awaitable[_T]]) -> _T:
    assert site.state is not None
    assert site.state_dir is not None
    return use_store(site.state, site.state_dir, act)
