"""From what the operator wrote to a rule that can be asked: every mistake found when it is read.

Knows no files and lines: a mistake names the key it is about, and where in its text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from relay.errors import ConfigurationError
from relay.model import RestrictionKind
from relay.policy.expressions import ExpressionMistake
from relay.policy.facts import why_unknown
from relay.policy.rules import Action, OnError, Penalty, Rule, Tag
from relay.policy.templates import TemplateMistake, parse_reply, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.policy.expressions import Language
    from relay.policy.facts import Fact
    from relay.policy.tables import RuleTable
    from relay.policy.templates import ReplyTemplate, Template

__all__ = ["RuleMistake", "compile_rule"]

_T = TypeVar("_T")
_REFUSALS: Final = frozenset({Action.REJECT, Action.DEFER, Action.BAN, Action.SUSPEND})
_OWN_KEYS: Final[Mapping[str, frozenset[Action]]] = {
    "reply": _REFUSALS,
    "header": frozenset({Action.TAG}),
    "value": frozenset({Action.TAG}),
    "duration": frozenset({Action.BAN, Action.SUSPEND}),
    "prefix": frozenset({Action.BAN}),
    "prefix6": frozenset({Action.BAN}),
}
"""Keys that only some actions have."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_TAKEN_HEADERS: Final = frozenset(
    {
        "from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id",
        "in-reply-to", "references", "return-path", "received", "mime-version", "content-type",
        "content-transfer-encoding", "content-disposition", "content-id", "dkim-signature",
        "arc-seal", "arc-message-signature", "arc-authentication-results",
        "authentication-results", "received-spf", "gatepost-identity",
    }
)  # fmt: skip
"""Header fields whose meaning is fixed: a tag would replace or forge them."""


class RuleMistake(ConfigurationError):
    """A mistake in one key of a rule; `offset` says where in its text, if it is about a place in it."""

    def __init__(self, key: str, problem: str, remedy: str, offset: int | None = None) -> None:
        super().__init__(problem, remedy=remedy)
        self.key = key
        self.offset = offset


def compile_rule(table: RuleTable, language: Language) -> Rule:
    """Check one rule and make it ready.

    Raises:
        RuleMistake: what is wrong with it.
    """
    _check_keys(table)
    try:
        when = language.compile(table.when, table.at)
    except ExpressionMistake as mistake:
        raise RuleMistake("when", mistake.problem, mistake.remedy, mistake.offset) from None
    return Rule(
        name=table.name,
        at=table.at,
        when=when,
        then=table.then,
        reply=_reply(table, language.facts),
        tag=_tag(table, language.facts),
        penalty=_penalty(table),
        on_error=table.on_error,
        is_shadow=table.mode == "shadow",
    )


def _check_keys(table: RuleTable) -> None:
    for key, actions in _OWN_KEYS.items():
        if key in table.model_fields_set and table.then not in actions:
            words = " or ".join(f'"{each}"' for each in sorted(actions))
            raise RuleMistake(
                key, f'`{key}` says nothing with `then = "{table.then}"`', f"it goes with {words}"
            )
    if table.then is Action.ACCEPT and table.on_error is OnError.BREAK:
        raise RuleMistake(
            "on_error",
            "who can't be looked at would be accepted for that",
            'leave it out, or write `on_error = "skip"`',
        )


def _reply(table: RuleTable, facts: Mapping[str, Fact]) -> ReplyTemplate | None:
    if table.then not in _REFUSALS:
        return None
    if table.reply is None:
        example = "451 4.7.1 Try again later" if table.then == "defer" else "550 5.7.1 Not allowed"
        raise RuleMistake(
            "then", f'`then = "{table.then}"` needs a `reply`', f'add `reply = "{example}"`'
        )
    reply = _read(parse_reply, "reply", table.reply)
    wanted = "4" if table.then is Action.DEFER else "5"
    if str(reply.code)[0] != wanted and not (wanted == "5" and reply.code == 421):
        raise RuleMistake(
            "reply",
            f'`then = "{table.then}"` does not go with a {reply.code}',
            f"begin it with {wanted}.., as in {'451 4.7.1' if wanted == '4' else '550 5.7.1'}",
            0,
        )
    _check_template("reply", table.reply, reply.text, table, facts)
    return reply


def _tag(table: RuleTable, facts: Mapping[str, Fact]) -> Tag | None:
    if table.then is not Action.TAG:
        return None
    if table.header is None or table.value is None:
        missing = "header" if table.header is None else "value"
        example = '"X-Suspect"' if missing == "header" else '"score {dnsbl.score}"'
        raise RuleMistake(
            "then", f'`then = "tag"` needs a `{missing}`', f"add `{missing} = {example}`"
        )
    if not _HEADER_NAME.fullmatch(table.header):
        raise RuleMistake(
            "header",
            f"{table.header!r} is no name of a header field",
            "use letters, digits and hyphens, as in X-Suspect",
        )
    if table.header.lower() in _TAKEN_HEADERS:
        raise RuleMistake(
            "header",
            f"the field {table.header} has a meaning of its own",
            "choose a name of your own, as X-Suspect",
        )
    value = _read(parse_template, "value", table.value)
    _check_template("value", table.value, value, table, facts)
    return Tag(table.header, value)


def _penalty(table: RuleTable) -> Penalty | None:
    kinds = {Action.BAN: RestrictionKind.BAN, Action.SUSPEND: RestrictionKind.SUSPENSION}
    if table.then not in kinds:
        return None
    if not table.duration:
        raise RuleMistake(
            "then",
            f'`then = "{table.then}"` needs a `duration`',
            'add `duration = "1h"`; it grows by itself with each repetition',
        )
    return Penalty(kinds[table.then], table.duration, (table.prefix, table.prefix6))


def _read(parse: Callable[[str], _T], key: str, text: str) -> _T:
    try:
        return parse(text)
    except TemplateMistake as mistake:
        raise RuleMistake(key, mistake.problem, mistake.remedy, mistake.offset) from None


def _check_template(
    key: str, text: str, template: Template, table: RuleTable, facts: Mapping[str, Fact]
) -> None:
    for name in template.facts:
        offset = max(text.find("{" + name), 0)
        if name not in facts:
            raise RuleMistake(
                key, f"unknown fact `{name}`", "see docs/facts.md for what there is", offset
            )
        known = facts[name].stage
        if problem := why_unknown(name, known, table.at):
            raise RuleMistake(
                key,
                problem,
                f'write `at = "{known}"`, or leave it out',
                offset,
            )
