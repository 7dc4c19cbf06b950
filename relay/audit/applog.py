"""The application log, on standard error: for people on a terminal, JSON otherwise.

For what happens to the relay itself; what happens to mail stands in the audit trail.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

    from relay.settings.operation import Log

__all__ = ["configure_logging"]


def configure_logging(settings: Log) -> None:
    """Send structlog's and the standard library's log records the way the settings say."""
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _renderers(settings: Log) -> list[Processor]:
    """Tracebacks come without local variables: those hold mail and keys."""
    if settings.format == "human" or (settings.format == "auto" and sys.stderr.isatty()):
        colors = sys.stderr.isatty()
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_serialise),
    ]


def _serialise(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
