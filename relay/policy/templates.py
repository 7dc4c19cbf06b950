"""Texts of rules with facts in them: "550 5.7.1 {identity.name} may not send as {sender.domain}".

What a client has sent goes into replies and header fields here, so every value is made harmless:
printable ASCII, bounded in length, and never a new line. RFC 5321 4.2, RFC 2034, RFC 5322 2.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.errors import ConfigurationError
from relay.policy.facts import Missing
from relay.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.facts import Value

__all__ = ["ReplyTemplate", "Template", "TemplateMistake", "parse_reply", "parse_template"]

MAX_VALUE_CHARACTERS: Final = 100
"""How much of one fact is shown."""
MAX_TEXT_CHARACTERS: Final = 400
"""How long a text may become: a reply line has 512 (RFC 5321 4.5.3.1.5), and the reference id follows."""

_REPLY: Final = re.compile(r"([2-5]\d\d)(?: +([245]\.\d{1,3}\.\d{1,3}))?(?: +(.*))?", re.DOTALL)


class TemplateMistake(ConfigurationError):
    """A mistake in a template: `offset` says at which character of it."""

    def __init__(self, problem: str, remedy: str, offset: int = 0) -> None:
        super().__init__(problem, remedy=remedy)
        self.offset = offset


class Template(NamedTuple):
    """A text: pieces that stand as they are, and the names of facts in between.

    `pieces[0] facts[0] pieces[1] facts[1] ... pieces[-1]`.
    """

    pieces: tuple[str, ...]
    facts: tuple[str, ...]

    def render(self, values: Mapping[str, Value]) -> str:
        """Put the facts in; one that could not be found out is "(unknown)"."""
        if not self.facts:
            return self.pieces[0]
        shown = [self.pieces[0]]
        for name, piece in zip(self.facts, self.pieces[1:], strict=True):
            shown += [_harmless(values[name]), piece]
        return _bounded("".join(shown), MAX_TEXT_CHARACTERS)


class ReplyTemplate(NamedTuple):
    """A reply whose text is a template."""

    code: int
    enhanced: str
    text: Template

    def render(self, values: Mapping[str, Value]) -> Reply:
        """Make the reply."""
        return Reply(self.code, self.enhanced, (self.text.render(values),))


def parse_template(text: str) -> Template:
    """Read a template; `{{` and `}}` stand for braces.

    Raises:
        TemplateMistake: it has characters that no reply and no header field may have, or its braces
            don't match.
    """
    for offset, character in enumerate(text):
        if not " " <= character <= "~":
            raise TemplateMistake(
                f"{character!r} may not stand in it", "use printable ASCII, on one line", offset
            )
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TemplateMistake(
            f"the text has {len(text)} characters, and may have {MAX_TEXT_CHARACTERS}",
            "make it shorter",
        )
    pieces, facts, position = [""], [], 0
    for found in _TOKEN.finditer(text):
        pieces[-1] += text[position : found.start()]
        position = found.end()
        if found[0] in {"{{", "}}"}:
            pieces[-1] += found[0][0]
        elif found[1] is None:
            raise TemplateMistake(
                f"`{found[0]}` stands alone",
                "name a fact as {sender.domain}; write {{ or }} for a brace",
                found.start(),
            )
        else:
            facts.append(found[1].strip())
            pieces.append("")
    pieces[-1] += text[position:]
    return Template(tuple(pieces), tuple(facts))


_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def parse_reply(text: str) -> ReplyTemplate:
    """Read "550 5.7.1 text with {facts}".

    Raises:
        TemplateMistake: as `parse_template`, or its codes are no codes of RFC 5321 and RFC 3463.
    """
    found = _REPLY.fullmatch(text)
    if found is None or int(found[1][1]) > 5:
        raise TemplateMistake(
            "the reply does not begin with a code", 'write it as "550 5.7.1 Not allowed"'
        )
    code, enhanced, words = int(found[1]), found[2], found[3] or ""
    if not enhanced:
        raise TemplateMistake(
            "the reply has no enhanced code",
            f'write it as "{code} {found[1][0]}.7.1 {words or "Not allowed"}"',
            3,
        )
    if enhanced[0] != found[1][0]:  # RFC 2034 4: the first digits are the same
        raise TemplateMistake(
            f"the enhanced code {enhanced} does not match {code}",
            f"write {found[1][0]}{enhanced[1:]}",
            found.start(2),
        )
    if not words:
        raise TemplateMistake("the reply says nothing", "add a sentence that helps the sender", 3)
    try:
        return ReplyTemplate(code, enhanced, parse_template(words))
    except TemplateMistake as mistake:
        mistake.offset += found.start(3)
        raise


def _harmless(value: Value) -> str:
    """A fact in words: printable ASCII only, so that it can never begin a line of its own."""
    if isinstance(value, Missing):
        return "(unknown)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    if not (text.isascii() and text.isprintable()):
        text = "".join(each if " " <= each <= "~" else "?" for each in text)
    return _bounded(text, MAX_VALUE_CHARACTERS)


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
