"""Where the client came in: the listener, as its `[[listener]]` is named.

What the listener lets in is not said here: the allowlist (`identity`) and TLS (`tls`) have a say in that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "ListenerCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "listener.name",
        FactType.STRING,
        Stage.CONNECT,
        "The name of the listener: for files that several listeners share, and limits that each has to itself.",
    ),
)


class Settings(Table):
    """The listener: nothing to set."""


def build(_settings: Settings, _tools: Tools) -> ListenerCheck:
    """Make the check."""
    return ListenerCheck()


class ListenerCheck:
    """Reports at once (`policy.check.Check`)."""

    def report(self, case: Case, _stage: Stage, _wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return all facts."""
        return {"listener.name": case.listener}
