# ruff: noqa: INP001  (a script beside its pages, no package)
"""Makes the pages of this folder that have their source in the code. Run by `make docs`.

`configuration.md` and `gatepost.schema.json` come from the settings' types and docstrings, `audit.md`
from the table of audit fields. A test fails when a page is older than its source.
"""

from __future__ import annotations

import json
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticUndefined

from relay import catalogue
from relay.audit import record
from relay.settings import Settings
from relay.settings.ca import Ca, Est
from relay.settings.dns import Dns
from relay.settings.limits import Limits, Timeouts
from relay.settings.listener import Listener
from relay.settings.mailauth import AuthenticationResults, Dkim, DmarcReports, Doctor
from relay.settings.operation import Admin, Audit, Log
from relay.settings.policy import Checks, Policy
from relay.settings.revocation import Revocation, RevocationAuthority
from relay.settings.route import Route
from relay.settings.state import State
from relay.settings.table import CertificateFiles
from relay.settings.values import format_duration, format_size, parse_network, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

__all__ = ["IDENTITY_KEYS", "PAGES"]

FOLDER = Path(__file__).parent

_INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from relay/settings: change it there. -->

One file, `gatepost.toml`; `gatepost init` writes one to begin with, `gatepost check` says what is
wrong with yours. It is looked for as `--config FILE`, `$GATEPOST_CONFIG`, `./gatepost.toml` and
`/etc/gatepost/gatepost.toml`. An editor that knows JSON schemas helps with
[`gatepost.schema.json`](gatepost.schema.json).

- **More files:** `conf.d/*.toml` beside it are read too, in the order of their names. Tables are
  merged and `[[listener]]`s appended; a key may be set in one file only.
- **Paths** are relative to the folder of the file that names them.
- **The environment** wins over files: `GATEPOST_HOSTNAME=edge.example.org`, a double underscore goes
  one table down (`GATEPOST_LIMITS__MAX_RECIPIENTS=200`, `GATEPOST_LISTENER__0__ADDRESS=0.0.0.0:25`),
  lists and tables are written as in TOML (`GATEPOST_ROUTE='{ "*" = { hosts = ["mx:25"] } }'`). With
  `_FILE` at the end the value is read from a file (`GATEPOST_HOSTNAME_FILE=/run/secrets/hostname`).
- **Durations** are written `"500ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"7d"`, **sizes** `"512KiB"`, `"25MB"`,
  `"64MiB"` or as a number of bytes.
- **Unknown keys** are errors: a misspelled limit is no limit.

A running relay takes over a changed file by itself, or at SIGHUP (`gatepost reload`); one with
mistakes is refused, and the old configuration stays in force.
"""

_ALLOWLIST = """\
## The allowlist: `[[identity]]`

Who may send, in the file that `allowlist` names. Edited by hand or by `gatepost pin` and
`gatepost cert issue --pin`; a running relay takes it over when it changes.

"""

IDENTITY_KEYS = {
    "name": "Short name for replies, logs and the audit: letters, digits, `.`, `_` and `-`. Required.",
    "pins": "Its keys (`spki:sha256:...`) or certificates (`cert:sha256:...`); the digest in hex, with or "
    "without colons, or base64. Any may match: a second one is the successor, so that keys roll without "
    "a gap.",
    "names": "Names in certificates of a listener's `client_ca`: `dns:mail.acme.example`, "
    "`uri:spiffe://acme/billing`, `email:...`, `ip:...`.",
    "chain": '`"pin-only"` (default): a pin is enough, whoever issued the certificate. `"required"`: it '
    "must lead to a `client_ca` and be valid too. Names always need a chain.",
    "revocation": '`"hard"`, `"soft"` or `"off"`: as for a listener, for this identity alone, also where it is '
    "only pinned. With `hard`, a CA of `client_ca` must vouch for it and must not have revoked it.",
    "senders": "Envelope senders: `user@acme.example`, `@acme.example`, `@.acme.example` (subdomains), "
    "`*`. Left out: no limit.",
    "recipients": "Recipients, written in the same way. Left out: no limit.",
    "header_from": '`"senders"` (default): the From field obeys `senders` too. `"any"`: it does not.',
    "networks": "Where it may come from: `192.0.2.0/24`, `2001:db8::/32`, an address. Left out: anywhere.",
    "tier": '`"new"`, `"verified"` (default) or `"trusted"`: how far it is trusted; limits hang on it.',
    "not_before": "From when its pins count: `2027-01-31` (that day, UTC) or `2027-01-31T12:00:00Z`.",
    "not_after": "Until when its pins count, the day included.",
    "contact": "Whom to ask about it.",
    "policy": "Policy files whose rules and lists are put over those of the listener for this identity, as "
    '`["policy/acme.toml"]`, relative to the allowlist.',
    "suspended": '`{ reason = "...", by = "...", at = 2027-01-31T12:00:00Z, until = 2027-02-01T12:00:00Z }`: '
    "refused with 550 5.7.13 until then, or without `until` until the key is taken out. `gatepost pin suspend` "
    "and `gatepost pin restore` do both.",
}
"""The keys of `[[identity]]` and what they mean."""


def _with_lists(key: str, table: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a table, the tables in it, and those that it has lists of."""
    yield f"[{key}]", table
    for name, field in table.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"[{key}.{name}]", field.annotation
        element = (*get_args(field.annotation), None)[0]
        if isinstance(element, type) and issubclass(element, BaseModel):
            yield f"[[{key}.{name}]]", element


_TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("At the top", Settings),
    ("[[listener]]", Listener),
    ('[route."example.org"]', Route),
    ("{ chain = ..., key = ... }", CertificateFiles),
    ("[ca]", Ca),
    ("[est]", Est),
    ("[admin]", Admin),
    ("[limits]", Limits),
    ("[timeouts]", Timeouts),
    ("[state]", State),
    ("[dns]", Dns),
    *_with_lists("dkim", Dkim),
    ("[doctor]", Doctor),
    ("[policy]", Policy),
    ("[checks]", Checks),
    *(
        section
        for name, module in catalogue.check_modules().items()
        if module.Settings.model_fields
        for section in _with_lists(f"checks.{name}", module.Settings)
    ),
    ("[authentication_results]", AuthenticationResults),
    ("[dmarc_reports]", DmarcReports),
    ("[revocation]", Revocation),
    ("[[revocation.authority]]", RevocationAuthority),
    ("[audit]", Audit),
    ("[log]", Log),
)


def manual() -> str:
    """The manual as Markdown."""
    keys = [f"- **`{key}`**  \n  {text}" for key, text in IDENTITY_KEYS.items()]
    sections = [line for table in _TABLES for line in _section(*table)]
    return "\n".join([_INTRODUCTION, *sections, _ALLOWLIST + "\n".join(keys), ""])


def schema() -> str:
    """The JSON schema, draft 2020-12."""
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **catalogue.settings_type().model_json_schema(schema_generator=_SchemaGenerator),
    }
    return json.dumps(made, indent=2) + "\n"


class _SchemaGenerator(GenerateJsonSchema):
    """Spells default durations as the file does, not as ISO 8601 does."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


_FACTS = """# Facts

<!-- Made by `make docs` from the files of relay/checks: change them there. -->

What a rule's condition may name (see [policy](policy.md)). *From* says at which stage a fact is known
first; it is known at all later ones. A fact is found out only if a rule of the listener needs it, and then
once: once a connection, a transaction, a recipient or a message. One that can't be found out is neither
true nor false, and the rule's `on_error` says what follows. Replies and tags name facts in braces.
"""


def facts() -> str:
    """All facts, check by check."""
    lines = [_FACTS]
    for name, module in catalogue.check_modules().items():
        summary = (module.__doc__ or "").partition("\n")[0].rstrip(".")
        lines += [
            f"## `{name}`\n",
            f"{summary}.\n",
            "| fact | type | from | |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{fact.name}` | {fact.type} | {fact.stage} | {fact.doc.replace('|', '&#124;')} |"
            for fact in module.FACTS
        ]
        lines.append("")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": manual,
    "gatepost.schema.json": schema,
    "audit.md": record.manual,
    "facts.md": facts,
}
"""The file names, and what makes their text."""


def _section(title: str, table: type[BaseModel]) -> Iterator[str]:
    yield f"## `{title}`\n" if title[0] in "[{" else f"## {title}\n"
    yield f"{_paragraph(table.__doc__ or '')}\n"
    for name, field in table.model_fields.items():
        if isinstance(field.default, BaseModel):
            continue  # it has a section of its own
        yield f"- **`{name}`** ({', '.join(_facts(field))})  \n  {_paragraph(field.description or '', 2)}"
    yield ""


def _paragraph(text: str, indent: int = 0) -> str:
    lines = (line.strip() for line in text.strip().splitlines())
    return "\n".join(lines).replace("\n", "\n" + " " * indent)


def _facts(field: FieldInfo) -> Iterator[str]:
    is_size = any(getattr(each, "func", None) is parse_size for each in field.metadata)
    yield "size" if is_size else _type_words(field.annotation)
    for each in field.metadata:
        for attribute, words in (("ge", "at least"), ("le", "at most")):
            if getattr(each, attribute, None):
                yield f"{words} {getattr(each, attribute)}"
    if field.is_required():
        yield "required"
    elif shown := _default_words(field.default, is_size=is_size):
        yield f"default `{shown}`"


def _type_words(annotation: Any) -> str:
    """What to write for a type, in words: "text", "list of paths"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_network = any(getattr(each, "func", None) is parse_network for each in arguments)
        return "network" if is_network else _type_words(arguments[0])
    if origin is Literal:
        return " or ".join(f'`"{each}"`' for each in arguments)
    if origin is tuple:
        element = _type_words(arguments[0])
        return f"list of {element}" if element == "text" else f"list of {element}s"
    if origin is dict:
        return "tables by domain"
    if origin in {Union, types.UnionType}:
        return _type_words(arguments[0])
    if issubclass(annotation, BaseModel):
        return "table"
    words = {str: "text", SecretStr: "text", int: "number", float: "number", bool: "true or false", Path: "path",
             timedelta: "duration"}  # fmt: skip
    return words.get(annotation, "text")  # what is read from text in a form of its own


def _default_words(value: Any, *, is_size: bool) -> str:
    """A default as one would write it; "" where "none" says no more than leaving it out."""
    if value is PydanticUndefined or value is None or value in {"", ()}:
        return ""
    if isinstance(value, timedelta):
        return f'"{format_duration(value)}"'
    if is_size:
        return f'"{format_size(value)}"'
    return json.dumps(value, default=str)


def write() -> None:
    """Write all pages, and say which."""
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    write()
