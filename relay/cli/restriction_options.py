"""The options of commands that put something in force against somebody: why, and for how long."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from relay.errors import ConfigurationError

__all__ = ["ReasonOption", "end_of"]

ReasonOption = Annotated[
    str, typer.Option(help="Why; for you and the audit, not for the client.", show_default=False)
]


def end_of(now: datetime, duration: str) -> datetime | None:
    """Say when it is over, by the text of `--for`; None where there is none.

    Raises:
        ConfigurationError: the text is no duration, or a longer one than there are years.
    """
    from relay.settings.values import parse_duration

    if not duration:
        return None
    try:
        found: timedelta = parse_duration(duration)
        end = now + found
    except (ValueError, OverflowError):
        end = now
    if end == now:
        remedy = "write it as 30m, 2h or 7d"
        raise ConfigurationError(f"--for: {duration!r} is no duration", remedy=remedy)
    return end
