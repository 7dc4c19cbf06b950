"""What pydantic objects to, in the operator's words: a problem and a remedy.

Knows the settings' types and nothing of files or lines; `config.py` adds the place.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel

from relay.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_core import ErrorDetails

    from relay.toml_lines import KeyPath

__all__ = ["Mistake", "explain", "format_key", "mistake_by"]


class Mistake(NamedTuple):
    """One mistake: the key it is about, what is wrong, and what to do."""

    key: KeyPath
    problem: str
    remedy: str


_EXAMPLES = {
    "hostname": 'add `hostname = "edge.example.org"`',
    "listener": 'add a `[[listener]]` with name, address and certificate, or run "gatepost init"',
    "route": 'add `[route."*"]` with `hosts = ["mx.example.org:25"]`',
    "name": 'add `name = "partners"`',
    "address": 'add `address = "0.0.0.0:25"`',
    "certificate": 'add `certificate = [{ chain = "tls/edge.pem", key = "tls/edge.key" }]`',
    "hosts": 'add `hosts = ["mx.example.org:25"]`',
    "chain": 'add `chain = "tls/edge.pem"`',
    "key": 'add `key = "tls/edge.key"`',
}
"""What to write where a required key is missing or empty."""

_SPECIAL = {
    ("route", "tls", "dane"): "it comes with a later version; use verify, or fingerprint with pins",
    ("route", "tls", "mta-sts"): "it comes with a later version; use verify",
    ("listener", "tls", "off"): "mail is never taken in clear; use starttls or implicit",
    ("listener", "tls", "none"): "mail is never taken in clear; use starttls or implicit",
}
"""Words that operators know from elsewhere, and what to do instead: (table, key, value)."""

_PATTERNS = {
    "name": 'use lower-case letters, digits, "-" and "_", at most 32',
    "hostname": 'write a host name, as "edge.example.org"',
    "url": 'write it as "http://ca.example.org"',
    "authserv_id": 'write a name like that of a host, as "mail.example.org"',
    "sender": 'write a mailbox, as "dmarc@example.org"',
    "prefix": 'use letters, digits, ".", "_", ":" and "-", at most 64',
}

_FORMS = {
    "string_type": ("text", 'write it in quotes: "..."'),
    "path_type": ("a path", 'write it in quotes: "..."'),
    "int_type": ("a whole number", "write it in digits, without quotes"),
    "int_parsing": ("a whole number", "write it in digits, without quotes"),
    "int_from_float": ("a whole number", "leave out the fraction"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "bool_parsing": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "put it in brackets: [...]"),
    "dict_type": ("a table", "write it as [table] with keys below"),
    "model_type": ("a table", "write it as { key = value }, or as [table] with keys below"),
    "model_attributes_type": ("a table", "write it as { key = value }"),
}
"""Error type: what was wanted, and how to write it."""


def explain(errors: Iterable[ErrorDetails], root: type[BaseModel] = Settings) -> list[Mistake]:
    """Turn pydantic's errors into mistakes that name their key and a remedy.

    Args:
        errors: what pydantic says.
        root: the type of the document they are about.
    """
    listed = list(errors)
    misspelled = {
        (*error["loc"][:-1], _nearest_key(error["loc"], root))
        for error in listed
        if error["type"] == "extra_forbidden"
    }
    wrong_inside = {
        error["loc"][:depth] for error in listed for depth in range(1, len(error["loc"]))
    }
    return [
        Mistake(error["loc"], *_explain(error["type"], error["loc"], error, root))
        for error in listed
        # One mistake is enough: a misspelled key is also missing, a list of wrong elements empty.
        if not (error["type"] == "missing" and error["loc"] in misspelled)
        and not (error["type"] == "too_short" and error["loc"] in wrong_inside)
    ]


def _explain(
    kind: str, key: KeyPath, error: ErrorDetails, root: type[BaseModel]
) -> tuple[str, str]:
    value, name, context = error["input"], str(key[-1]), error.get("ctx", {})
    is_secret = "password" in name  # nobody's log is the place for it
    shown = f"{format_key(key)} = {'...' if is_secret else _shortened(value)}"
    if kind == "extra_forbidden":
        return _unknown_key(key, value, root)
    if kind == "missing":
        return f"{format_key(key)} is missing", _EXAMPLES.get(name, f"add `{name} = ...`")
    if kind == "too_short":
        return f"{format_key(key)} is empty", _EXAMPLES.get(name, "name at least one")
    if kind in {"literal_error", "enum"}:
        words = str(context["expected"]).replace("'", "")
        return f"{shown} is not known", _special_remedy(key, value) or f"use {words}"
    if kind == "value_error":
        problem, _, remedy = str(context["error"]).partition("; ")
        return f"{format_key(key)}: {problem}", remedy or "correct it"
    if kind == "string_pattern_mismatch":
        return f"{shown} is not allowed", _PATTERNS[name]
    if kind in {"greater_than_equal", "less_than_equal"}:
        limit = context.get("ge", context.get("le"))
        is_low = kind == "greater_than_equal"
        return (
            f"{shown} is too {'small' if is_low else 'large'}",
            f"use at {'least' if is_low else 'most'} {limit}",
        )
    if kind in _FORMS:
        wanted, remedy = _FORMS[kind]
        return f"{shown} is not {wanted}", remedy
    return f"{shown}: {error['msg'].lower()}", "see docs/configuration.md"


def _special_remedy(key: KeyPath, value: object) -> str:
    return _SPECIAL.get((str(key[0]), str(key[-1]), str(value)), "")


def _unknown_key(key: KeyPath, value: object, root: type[BaseModel]) -> tuple[str, str]:
    name, table = str(key[-1]), key[:-1]
    known = list(_model_at(table, root).model_fields)
    what = "table" if isinstance(value, dict | list) and not table else "key"
    problem = f"unknown {what} {format_key(key)}"
    home = next((place for place, model in _tables(root) if name in model.model_fields), None)
    if home is not None:
        return problem, f"it belongs to {home}"
    near = _nearest_key(key, root)
    if near:
        return problem, f"did you mean `{near}`?"
    return problem, f"known here: {', '.join(known)}"


def _nearest_key(key: KeyPath, root: type[BaseModel]) -> str:
    """The known key of the same table that is spelled most like this one, "" if none is near."""
    known = list(_model_at(key[:-1], root).model_fields)
    near = difflib.get_close_matches(str(key[-1]).lower(), known, n=1, cutoff=0.6)
    return near[0] if near else ""


def _model_at(path: KeyPath, root: type[BaseModel]) -> type[BaseModel]:
    """The type of a table; of the last one known where the path leads out of what is known."""
    model = root
    for part in path:
        field = model.model_fields.get(str(part))
        # An index or a route's domain is no field: the type is that of the field before.
        model = (_table_type(field.annotation) if field else model) or model
    return model


def _table_type(annotation: Any) -> type[BaseModel] | None:
    """The table inside `X`, `tuple[X, ...]`, `dict[str, X]` or `X | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _tables(root: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """All tables, with how their headers are written."""
    yield "the top of the file, before the first [table]", root
    for name, field in root.model_fields.items():
        model = _table_type(field.annotation)
        if model is not None:
            header = {
                "listener": "a [[listener]]",
                "route": 'a [route."..."]',
                "rule": "a [[rule]]",
                "lists": "a [lists.<name>]",
            }
            yield header.get(name, f"[{name}]"), model


def mistake_by(error: ValueError, key: KeyPath, name: str) -> Mistake:
    """Make the mistake that a parser's error tells of: its text is "problem; remedy".

    Args:
        error: of the parser.
        key: where the value stands.
        name: how the operator knows that key.
    """
    problem, _, remedy = str(error).partition("; ")
    return Mistake(key, f"`{name}`: {problem}", remedy)


def format_key(key: KeyPath) -> str:
    """Spell a key as an operator would look for it: `route."*".hosts`, `listener.name`.

    Positions in lists are left out: the line says them better.
    """
    parts = [part for part in key if isinstance(part, str)]
    spelled = [
        part if part.replace("_", "").replace("-", "").isalnum() else json.dumps(part)
        for part in parts
    ]
    return f"`{'.'.join(spelled)}`"


def _shortened(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
