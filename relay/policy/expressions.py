"""The conditions of rules: CEL over facts and lists, type-checked when they are read.

CEL ends always and its regular expressions are RE2: linear in time. What could still take long
(loops in loops, patterns made at run time, texts without end) is refused when it is read. Knows the
declarations of facts, not who finds them out; nothing of files and lines. CEL specification 0.25.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cel_expr_python import cel  # type: ignore[import-untyped]

from relay.errors import ConfigurationError
from relay.policy.facts import FactType, why_unknown
from relay.policy.syntax_tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.policy.facts import Fact, Stage, Value
    from relay.policy.lists import NamedList

__all__ = ["Expression", "ExpressionMistake", "Language"]

MAX_EXPRESSION_CHARACTERS: Final = 4_000

_TYPES: Final = {
    FactType.BOOL: cel.Type.BOOL,
    FactType.INT: cel.Type.INT,
    FactType.DOUBLE: cel.Type.DOUBLE,
    FactType.STRING: cel.Type.STRING,
    FactType.STRINGS: cel.Type.List(cel.Type.STRING),
}
_PYTHON_TYPES: Final = {
    FactType.BOOL: bool,
    FactType.INT: int,
    FactType.DOUBLE: float,
    FactType.STRING: str,
    FactType.STRINGS: tuple,
}


class ExpressionMistake(ConfigurationError):
    """A mistake in an expression: `offset` says at which character of it."""

    def __init__(self, problem: str, remedy: str, offset: int = 0) -> None:
        super().__init__(problem, remedy=remedy)
        self.offset = offset


class Expression(NamedTuple):
    """A condition that has been checked: the facts it names, and how to evaluate it."""

    text: str
    facts: frozenset[str]
    compiled: Any

    def evaluate(self, activation: Any) -> bool | None:
        """Whether it holds; None if that depends on a fact that could not be found out.

        As CEL has it, `false && unknown` is false and `true || unknown` is true.
        """
        try:
            value = self.compiled.eval(activation).value()
        except RuntimeError:  # the library's: too many steps, say
            return None
        return value if value is True or value is False else None


class Language:
    """What can be said in a condition: the declared facts and some lists.

    Args:
        facts: every fact, by its name.
        lists: the lists, by their name; `lists.<name>.has(text)` asks one.
    """

    def __init__(self, facts: Mapping[str, Fact], lists: Mapping[str, NamedList]) -> None:
        self.facts = facts
        self._lists = lists
        text, truth = cel.Type.STRING, cel.Type.BOOL
        self._environment = cel.NewEnv(
            variables={fact.name: _TYPES[fact.type] for fact in facts.values()},
            functions=[
                cel.FunctionDecl(
                    f"lists.{name}.has",
                    [cel.Overload(f"list_{name}", truth, [text], False, each.has)],  # noqa: FBT003
                )
                for name, each in lists.items()
            ],
        )
        self._matching = cel.NewEnv(variables={"pattern": text}).compile("''.matches(pattern)")

    def compile(self, text: str, stage: Stage) -> Expression:
        """Check a condition for a rule at `stage`.

        Raises:
            ExpressionMistake: what is wrong with it.
        """
        if len(text) > MAX_EXPRESSION_CHARACTERS:
            raise ExpressionMistake(
                f"the condition has {len(text)} characters, and may have {MAX_EXPRESSION_CHARACTERS}",
                "make several rules of it, or put the values into a list",
            )
        try:
            compiled = self._environment.compile(text)
        except RuntimeError as error:
            raise self._explain(text, str(error)) from None
        if (kind := compiled.return_type().name()) != "BOOL":
            raise ExpressionMistake(
                f"the condition is {_type_words(kind)}, not true or false",
                'compare it with something, as in `tls.version == "TLSv1.3"`',
            )
        tree = read_tree(compiled.serialize())
        names = tree.variables & self.facts.keys()
        self._check_stages(text, names, stage)
        self._check_patterns(text, tree.calls)
        if tree.loop_depth > 1:
            raise ExpressionMistake(
                "a loop in a loop takes too long", "use one `exists` or `all`, or a list"
            )
        expression = Expression(text, names, compiled)
        try:
            self.any_of((expression,) * 2)  # the others put it one level deeper
        except RuntimeError as error:
            raise self._explain(text, str(error)) from None
        return expression

    def any_of(self, expressions: Iterable[Expression]) -> Expression:
        """Join conditions that have been checked: one call, instead of one for each.

        It is false if none of them holds, and all of them can be evaluated.
        """
        joined = tuple(expressions)
        text = " || ".join(f"({each.text}\n)" for each in joined)  # a comment ends with its line
        facts = frozenset[str]().union(*(each.facts for each in joined))
        return Expression(text, facts, self._environment.compile(text))

    def activation(self, values: Mapping[str, Value]) -> Any:
        """Make facts ready for `Expression.evaluate`.

        Those that are `Missing` are not there, nor those that are not of their declared type.
        """
        return self._environment.Activation(
            {
                name: _encodable(value)
                for name, value in values.items()
                if type(value) is _PYTHON_TYPES[self.facts[name].type]
            }
        )

    # --- mistakes -------------------------------------------------------------------------------

    def _check_stages(self, text: str, names: Iterable[str], stage: Stage) -> None:
        for name in sorted(names):
            known = self.facts[name].stage
            if problem := why_unknown(name, known, stage):
                raise ExpressionMistake(
                    problem,
                    f'write `at = "{known}"`',
                    _place_of(text, name),
                )

    def _check_patterns(self, text: str, calls: Iterable[Any]) -> None:
        for call in calls:
            if call.function != "matches":
                continue
            offset = text.find("matches")
            if call.text is None:
                raise ExpressionMistake(
                    "the pattern of `matches` is not written out",
                    "write it in quotes: what a client sends must not be a pattern",
                    offset,
                )
            answer = self._matching.eval(data={"pattern": call.text}).value()
            if answer is not True and answer is not False:
                reason = str(answer).rpartition("regular expression: ")[2]
                raise ExpressionMistake(
                    f"the pattern {call.text!r} is no regular expression: {reason}",
                    "correct it (RE2 syntax)",
                    max(offset, text.find(call.text, text.find("(", offset) + 1)),
                )

    def _explain(self, text: str, message: str) -> ExpressionMistake:
        """Put what the library says of an expression into the operator's words."""
        found = _MESSAGE.search(message)
        if found is None:
            is_deep = "recursion" in message
            return ExpressionMistake(
                "the condition is nested too deeply" if is_deep else "the condition can't be read",
                "make several rules of it",
            )
        row, column, problem = int(found[1]), int(found[2]), found[3]
        offset = sum(len(line) for line in text.splitlines(keepends=True)[: row - 1]) + column - 1
        if unknown := _UNDECLARED.match(problem):
            return self._unknown(text, unknown[1], offset)
        if overload := _OVERLOAD.match(problem):
            return _misapplied(overload[1], overload[2], offset)
        return _misspelled(problem, offset)

    def _unknown(self, text: str, name: str, offset: int) -> ExpressionMistake:
        group, _, word = name.partition(".")
        if name == "has" or group == "lists":
            lists = ", ".join(f"lists.{each}" for each in self._lists) or "none"
            named = re.search(r"lists\s*\.\s*(\w+)", text)
            what = f"`lists.{named[1]}`" if named else f"`{name}`"
            if named and named[1] in self._lists:
                remedy = f"ask it as `lists.{named[1]}.has(sender.domain)`"
                return ExpressionMistake(f"{what} is a list", remedy, named.start())
            return ExpressionMistake(
                f"there is no list {what}",
                f"there are: {lists}",
                named.start() if named else offset,
            )
        members = [each for each in self.facts if each.startswith(f"{group}.")]
        if not word and members:
            remedy = f"name one of its facts: {', '.join(members)}"
            return ExpressionMistake(f"`{name}` is no fact by itself", remedy, offset)
        if text[offset : offset + 1] == "(":
            place = max(text.rfind(name, 0, offset), 0)
            known = ", ".join(_FUNCTIONS)
            return ExpressionMistake(f"unknown function `{name}`", f"there are: {known}", place)
        near = get_close_matches(name, self.facts, n=1, cutoff=0.5)
        remedy = f"did you mean `{near[0]}`?" if near else "see docs/facts.md for what there is"
        return ExpressionMistake(f"unknown fact `{name}`", remedy, _place_of(text, name))


_MESSAGE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?:\n \||\n|$)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '([^']*)'")


_FUNCTIONS: Final = (
    "startsWith", "endsWith", "contains", "matches", "size", "exists", "all", "filter", "int",
    "double", "string",
)  # fmt: skip
_DOUBLED: Final = {"=": "==", "&": "&&", "|": "||"}


def _misspelled(problem: str, offset: int) -> ExpressionMistake:
    """What the parser says, in words."""
    if "<EOF>" in problem:
        return ExpressionMistake("the condition ends too early", "write the rest of it", offset)
    strange = re.search(r"(?:token recognition error at:|input) '(.*?)\s*'", problem)
    if strange is None:
        return ExpressionMistake("the condition can't be read here", "correct it", offset)
    meant = _DOUBLED.get(strange[1])
    remedy = f"write `{meant}`" if meant else "correct it"
    return ExpressionMistake(f"`{strange[1]}` makes no sense here", remedy, offset)


def _misapplied(function: str, arguments: str, offset: int) -> ExpressionMistake:
    operator = function.strip("_").replace("_", "") if "_" in function else function
    types = arguments.strip("()")
    if function in {"_&&_", "_||_", "!_", "_?_:_"}:
        return ExpressionMistake(
            f"`{operator}` joins what is true or false, and here it has ({types})",
            "compare first, as in `dnsbl.score > 3.0 && identity.known`",
            offset,
        )
    remedy = "both sides must have the same type"
    if "double" in types and "int" in types:
        remedy += ": write 3.0 beside a double, and 3 beside an int"
    if "." in function or function.isidentifier():
        remedy = "see docs/facts.md for the type of each fact"
    return ExpressionMistake(f"`{operator}` can't be used with ({types})", remedy, offset)


def _place_of(text: str, name: str) -> int:
    """Where a qualified name stands, blanks around its dots allowed."""
    pattern = r"\s*\.\s*".join(map(re.escape, name.split(".")))
    found = re.search(rf"(?<![\w.]){pattern}(?!\w)", text)
    return found.start() if found else 0


def _type_words(kind: str) -> str:
    words = {"STRING": "a text", "INT": "a number", "DOUBLE": "a number"}
    return words.get(kind, f"of type {kind.lower()}")


def _encodable(value: Value) -> object:
    """A value as the library takes it: bytes that were no UTF-8 (lone surrogates) become "?"."""
    if type(value) is tuple:
        return [_encodable(each) for each in value]
    if type(value) is str and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value
