"""The configuration: TOML files and environment in, `Settings` out, every mistake with its line.

It reads `gatepost.toml` and `conf.d/*.toml` beside it, and no file that these name: certificates
and the allowlist are `material.py`'s. What the settings mean stands in `settings.py`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from relay.catalogue import settings_type
from relay.consistency import find_mistakes
from relay.environment import override, read_overrides
from relay.errors import ConfigurationError
from relay.mistakes import Mistake, explain, format_key
from relay.toml_lines import KeyPath, index_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay.settings import Settings

__all__ = ["Configuration", "Origin", "load", "read_file"]

_T = TypeVar("_T", bound=BaseModel)

DROP_IN_FOLDER = "conf.d"


class Origin(NamedTuple):
    """Where a key was set: a file and a line, or `$VARIABLE`."""

    path: Path | str
    line: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Configuration:
    """Settings, and where each of them came from. Paths in `settings` are resolved.

    Attributes:
        settings: what the files and the environment say.
        path: the main file.
        sources: all files that were read, the main one first.
        origins: where each key was set.
    """

    settings: Settings
    path: Path
    sources: tuple[Path, ...]
    origins: Mapping[KeyPath, Origin] = field(repr=False)

    def origin(self, *key: str | int) -> Origin:
        """Where a key was set; for a default, where the table around it begins."""
        return _nearest(self.origins, key)

    def mistake(self, problem: str, *, remedy: str, at: KeyPath) -> ConfigurationError:
        """Make the error for a mistake that was found later, at the place of a key."""
        origin = self.origin(*at)
        return ConfigurationError(problem, remedy=remedy, path=origin.path, line=origin.line)

    def files(self) -> tuple[Path, ...]:
        """Every file the configuration is made of, for whoever watches them for changes."""
        settings = self.settings
        pairs = [pair for listener in settings.listener for pair in listener.certificate]
        pairs += [r.client_certificate for r in settings.route.values() if r.client_certificate]
        pairs += [settings.est.certificate] if settings.est.certificate else []
        return (
            *self.sources,
            self.path.parent / DROP_IN_FOLDER,
            settings.allowlist,
            *(path for pair in pairs for path in (pair.chain, pair.key)),
            *(path for listener in settings.listener for path in listener.client_ca),
            *(path for route in settings.route.values() for path in route.ca),
            *(authority.certificate for authority in settings.revocation.authority),
            *(key.key for key in settings.dkim.key),
        )


def load(path: Path, environ: Mapping[str, str]) -> Configuration:
    """Read and check a configuration.

    Args:
        path: the main file; `conf.d/*.toml` beside it are read too, in the order of their names.
        environ: the environment; `GATEPOST_*` variables win over files.

    Raises:
        ConfigurationError: the first mistake found; its `others` are the rest.
    """
    documents = [_read_document(source) for source in (path, *_drop_ins(path))]
    data, origins = _merge(documents)
    origins[()] = Origin(path)
    for entry in read_overrides(environ):
        override(data, entry)
        _forget(origins, entry.key)
        origins[entry.key] = Origin(entry.place)
    try:
        settings = settings_type().model_validate(data)
    except ValidationError as error:
        raise _error_of(
            explain(error.errors(include_url=False), settings_type()), origins
        ) from None
    mistakes = list(find_mistakes(settings))
    if mistakes:
        raise _error_of(mistakes, origins)
    sources = tuple(document.path for document in documents)
    return Configuration(_resolve(settings, path, origins), path, sources, origins)


def read_file(path: Path) -> bytes:
    """Read a file that the operator names.

    Raises:
        ConfigurationError: it cannot be read; without a place, which the caller may add.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problem = "is a dangling link" if path.is_symlink() else "is not there"
        raise ConfigurationError(f"{path} {problem}", remedy="check the path") from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path} is a folder", remedy="name a file in it") from None
    except PermissionError:
        raise ConfigurationError(
            f"{path} may not be read", remedy="check its owner and its mode"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{path} cannot be read: {reason}", remedy="check the path"
        ) from None


def _error_of(mistakes: list[Mistake], origins: Mapping[KeyPath, Origin]) -> ConfigurationError:
    """One error for all mistakes, in the order in which an editor meets their lines."""
    placed = [(_nearest(origins, mistake.key), mistake) for mistake in mistakes]
    placed.sort(key=lambda each: (str(each[0].path), each[0].line or 0))
    errors = [
        ConfigurationError(
            mistake.problem, remedy=mistake.remedy, path=origin.path, line=origin.line
        )
        for origin, mistake in placed
    ]
    first, *others = errors
    first.others = tuple(others)
    return first


def _nearest(origins: Mapping[KeyPath, Origin], key: KeyPath) -> Origin:
    while key not in origins:
        key = key[:-1]
    return origins[key]


# --- reading --------------------------------------------------------------------------------


class _Document(NamedTuple):
    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]


def _drop_ins(path: Path) -> list[Path]:
    found = (path.parent / DROP_IN_FOLDER).glob("*.toml")
    return sorted(each for each in found if not each.name.startswith("."))


def _read_document(path: Path) -> _Document:
    try:
        text = read_file(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8", path=path
        ) from None
    except ConfigurationError as error:
        remedy = f'{error.remedy}, or make a configuration with "gatepost init"'
        raise ConfigurationError(error.problem, remedy=remedy) from None
    try:
        return _Document(path, tomllib.loads(text), index_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from None


def _syntax_error(path: Path, text: str, message: str) -> ConfigurationError:
    """Say tomllib's objection with its line: "Invalid value (at line 3, column 8)"."""
    what, _, where = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", where)
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    column = f" at column {found[2]}" if found else ""
    remedy = "text needs quotes, lists need [brackets]"
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        remedy = "a key or [table] stands here for the second time; keep one"
    return ConfigurationError(f"no valid TOML{column}: {what}", remedy=remedy, path=path, line=line)


# --- merging --------------------------------------------------------------------------------


def _merge(documents: Iterable[_Document]) -> tuple[dict[str, Any], dict[KeyPath, Origin]]:
    """Join the files: tables are merged, lists of tables appended, anything else may be set once.

    Raises:
        ConfigurationError: a key is set in two files.
    """
    data: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for document in documents:
        _merge_table(data, document.data, (), document, origins)
    return data, origins


def _merge_table(
    into: dict[str, Any],
    table: dict[str, Any],
    path: KeyPath,
    document: _Document,
    origins: dict[KeyPath, Origin],
) -> None:
    for name, value in table.items():
        key = (*path, name)
        known = into.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge_table(known, value, key, document, origins)
        elif _is_list_of_tables(value) and _is_list_of_tables(known):
            for position, element in enumerate(value):
                _adopt(document, (*key, position), origins, (*key, len(known)))
                known.append(element)
        elif name in into:
            raise ConfigurationError(
                f"{format_key(key)} is set in {_nearest(origins, key)} too",
                remedy="keep one of the two",
                path=document.path,
                line=document.lines[key],
            )
        else:
            into[name] = value
            _adopt(document, key, origins, key)


def _is_list_of_tables(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value) and value != []


def _adopt(
    document: _Document, key: KeyPath, origins: dict[KeyPath, Origin], new_key: KeyPath
) -> None:
    """Take over the lines of everything at and below a key; `new_key` is where it now stands."""
    depth = len(key)
    for place, line in document.lines.items():
        if place[:depth] == key:
            origins[(*new_key, *place[depth:])] = Origin(document.path, line)


def _forget(origins: dict[KeyPath, Origin], key: KeyPath) -> None:
    for place in [place for place in origins if place[: len(key)] == key]:
        del origins[place]


# --- paths ----------------------------------------------------------------------------------


def _resolve(settings: Settings, path: Path, origins: Mapping[KeyPath, Origin]) -> Settings:
    """Make every path relative to the folder of the file that names it; the audit's to the state."""

    def absolute(key: KeyPath, value: Path) -> Path:
        named_in = _nearest(origins, key).path
        return (named_in if isinstance(named_in, Path) else path).parent / value

    resolved = _replace_paths(settings, (), absolute)
    audit = settings.audit.model_copy(
        update={"path": resolved.state_dir / settings.audit.path}  # "/" keeps absolute paths
    )
    return resolved.model_copy(update={"audit": audit})


def _replace_paths(table: _T, key: KeyPath, change: Callable[[KeyPath, Path], Path]) -> _T:
    """Return a copy of the settings with every path in it changed."""

    def walk(value: Any, key: KeyPath) -> Any:
        if isinstance(value, Path):
            return change(key, value)
        if isinstance(value, tuple):
            return tuple(walk(each, (*key, position)) for position, each in enumerate(value))
        if isinstance(value, dict):
            return {name: walk(each, (*key, name)) for name, each in value.items()}
        return _replace_paths(value, key, change) if isinstance(value, BaseModel) else value

    fields = {name: walk(value, (*key, name)) for name, value in table}
    return table.model_copy(update=fields)
