"""What the shell is offered for an argument: the names that stand in the operator's own files.

Whoever presses the tab key wants no mistakes explained: where a file can't be read, nothing is offered.
"""

import typer

from relay.cli.context import load_configuration
from relay.errors import ConfigurationError

__all__ = ["identities", "listeners"]


def identities(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of identities that begin so."""
    from relay.material import read_allowlist

    try:
        settings = load_configuration(context.params.get("config")).settings
        _, allowlist = read_allowlist(settings.allowlist)
    except (ConfigurationError, OSError):
        return []
    return [each.name for each in allowlist if each.name.startswith(incomplete)]


def listeners(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of listeners that begin so."""
    try:
        settings = load_configuration(context.params.get("config")).settings
    except ConfigurationError:
        return []
    return [each.name for each in settings.listener if each.name.startswith(incomplete)]
