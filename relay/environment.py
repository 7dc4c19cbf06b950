"""Settings from the environment: `GATEPOST_HOSTNAME`, `GATEPOST_LIMITS__MAX_RECIPIENTS`, `..._FILE`.

Knows how variables are spelled and not what the settings mean. A double underscore goes one table
down (`GATEPOST_LISTENER__0__ADDRESS`); a list or a table is written as in TOML.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.errors import ConfigurationError
from relay.names import ENVIRONMENT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.toml_lines import KeyPath

__all__ = ["Override", "override", "read_overrides"]

_FILE_SUFFIX = "_FILE"

_NOT_SETTINGS = re.compile(
    # Our own, read elsewhere: which configuration, secrets of commands, the test suite's.
    r"GATEPOST_(?:CONFIG|CA_PASSPHRASE(?:_FILE)?|EST_TOKEN|FUZZ_\w+|TEST_\w+|BENCH_\w+"
    # Kubernetes describes a service named "gatepost" to every container in these.
    r"|SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_\d+_\w+)"
)


class Override(NamedTuple):
    """One setting from the environment; `key` holds positions in lists as numbers."""

    variable: str
    key: KeyPath
    value: Any

    @property
    def place(self) -> str:
        """What a mistake in it is reported under, where else the file stands."""
        return f"${self.variable}"


def read_overrides(environ: Mapping[str, str]) -> Iterator[Override]:
    """Read the settings among the variables, in the order of their names.

    Raises:
        ConfigurationError: a `..._FILE` cannot be read, or a setting is given twice.
    """
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or _NOT_SETTINGS.fullmatch(variable):
            continue
        name, text = variable, environ[variable]
        if variable.endswith(_FILE_SUFFIX):
            name = variable.removesuffix(_FILE_SUFFIX)
            if name in environ:
                raise ConfigurationError(
                    f"${name} is set too", remedy="keep one of the two", path=f"${variable}"
                )
            text = _read_secret(variable, text)
        yield Override(variable, _parse_name(name), _parse_value(text))


def override(data: dict[str, Any], entry: Override) -> None:
    """Put one setting into the tables read from files, in place of what they say.

    Raises:
        ConfigurationError: its name leads through something that is no table.
    """
    table: Any = data
    for part, after in zip(entry.key, [*entry.key[1:], None], strict=True):
        if isinstance(table, list) and isinstance(part, int) and part == len(table):
            table.append({})  # the next element: a start without any file needs no more
        is_sound = isinstance(table, dict) or (
            isinstance(table, list) and isinstance(part, int) and part < len(table)
        )
        if not is_sound:
            raise ConfigurationError(
                f'there is nothing that "{part}" could be a part of',
                remedy="see docs/configuration.md for the tables and their keys",
                path=entry.place,
            )
        if after is None:
            table[part] = entry.value
        else:
            empty: Any = [] if isinstance(after, int) else {}
            table = table.setdefault(part, empty) if isinstance(table, dict) else table[part]


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"cannot read {path}: {reason}",
            remedy="check the path and its mode",
            path=f"${variable}",
        ) from error


def _parse_name(variable: str) -> KeyPath:
    parts = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _parse_value(text: str) -> Any:
    """A list or a table as in TOML; anything else is text, and its setting's type reads it."""
    if text[:1] not in {"[", "{"}:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # such as the address [::1]:25
