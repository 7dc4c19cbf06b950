"""A rule, ready to be asked: at its stage, if its condition holds, this follows.

Made by `compiler.py` from what the operator wrote, asked by `engine.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import timedelta

    from relay.model import RestrictionKind
    from relay.policy.expressions import Expression
    from relay.policy.facts import Stage
    from relay.policy.templates import ReplyTemplate, Template

__all__ = ["Action", "OnError", "Penalty", "Rule", "Tag"]


class Action(StrEnum):
    """What a rule does."""

    ACCEPT = "accept"
    REJECT = "reject"
    DEFER = "defer"
    TAG = "tag"
    BAN = "ban"
    SUSPEND = "suspend"


class OnError(StrEnum):
    """What follows if a condition depends on what could not be found out."""

    DEFER = "defer"
    SKIP = "skip"
    BREAK = "break"


class Tag(NamedTuple):
    """A header field to add."""

    header: str
    value: Template


class Penalty(NamedTuple):
    """A ban or a suspension to impose; `prefixes` are of IPv4 and IPv6."""

    kind: RestrictionKind
    duration: timedelta
    prefixes: tuple[int, int]


class Rule(NamedTuple):
    """One rule. `reply`, `tag` and `penalty` are there if its action has them."""

    name: str
    at: Stage
    when: Expression
    then: Action
    reply: ReplyTemplate | None
    tag: Tag | None
    penalty: Penalty | None
    on_error: OnError
    is_shadow: bool

    @property
    def text_facts(self) -> frozenset[str]:
        """The facts in its texts, which are needed only once it holds."""
        templates = (self.reply.text if self.reply else None, self.tag.value if self.tag else None)
        return frozenset(name for each in templates if each for name in each.facts)
