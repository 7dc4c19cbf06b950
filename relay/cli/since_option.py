"""How far back a command looks in the audit trail."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from relay.errors import ConfigurationError

__all__ = ["SinceOption", "moment"]

SinceOption = Annotated[
    str, typer.Option(help="How far back: 7d, 12h, or a date such as 2026-01-31.")
]


def moment(text: str) -> datetime:
    """Read how far back an operator wants to look. Raises ConfigurationError."""
    from relay.settings.values import parse_duration

    try:
        back: timedelta = parse_duration(text)
        return datetime.now(UTC) - back
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)  # before all that there is
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--since {text} is no time", remedy="write 7d, 12h or 2026-01-31"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
