"""The structure of a message: its parts, and what readers may read differently.

Knows nothing of what is in the parts: files are `attachment`'s, links are `uri`'s. RFC 2045.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.mail import headers
from relay.mail.mime import structure_of
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.case import Case
    from relay.policy.check import Offload, Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "MimeCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "mime.parts",
        FactType.INT,
        Stage.MESSAGE,
        "How many parts the message has, those that hold others counted; 1000 are looked at.",
    ),
    Fact(
        "mime.depth",
        FactType.INT,
        Stage.MESSAGE,
        "How deep parts and messages stand in one another, 0 for one part; 50 are looked into.",
    ),
    Fact(
        "mime.types",
        FactType.STRINGS,
        Stage.MESSAGE,
        'The types that the parts say they are, each once, as "text/html".',
    ),
    Fact(
        "mime.defects",
        FactType.STRINGS,
        Stage.MESSAGE,
        'What readers may read differently: "bad_boundary", "bad_parameter", "bad_type", '
        '"duplicate_field", "encoded_container", "long_header", "long_value", "lost_piece", '
        '"no_boundary", "no_header", "no_parts", "no_version", "reused_boundary", "two_values", '
        '"unclosed", "unclosed_quote", "unended_header", "unknown_encoding", "unquoted_blank"; or '
        'what was not looked into: "too_deep", "too_many_delimiters", "too_many_parts".',
    ),
)

_LARGE_BYTES: Final = 16 * 1024  # nothing but delimiters and parameters: 5 ms


class Settings(Table):
    """There is nothing to set."""


def build(_settings: Settings, tools: Tools) -> MimeCheck:
    """Make the check."""
    return MimeCheck(tools.offload)


class MimeCheck:
    """Walks through the message; a large one leaves the event loop (`policy.check.WaitingCheck`)."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload

    async def gather(
        self, case: Case, _stage: Stage, _wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Return all facts."""
        block = case.header or headers.split(case.message)
        if len(case.message) > _LARGE_BYTES:
            found = await self._offload(lambda: structure_of(block))
        else:
            found = structure_of(block)
        return {
            "mime.parts": found.total,
            "mime.depth": found.depth,
            "mime.types": found.types,
            "mime.defects": found.defects,
        }
