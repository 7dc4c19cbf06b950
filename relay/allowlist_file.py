"""The allowlist on disk, edited for the operator: comments and order stay, a broken file never lands.

Every edit is made under a lock, checked by `relay.pki.allowlist` as the relay will, and put in place
by a rename, so that a running relay sees the old list or the new one. Decides nothing about pins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.items import AoT, Array, Table

from relay.errors import ConfigurationError
from relay.key_files import lock_folder, replace_file
from relay.pki.allowlist import Allowlist, parse_allowlist
from relay.pki.pins import format_pin, parse_pin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from relay.model import Suspension

__all__ = [
    "add_identity",
    "add_pins",
    "read_allowlist",
    "remove_identity",
    "remove_pin",
    "restore_identity",
    "suspend_identity",
]

_HEADER = """\
# Who may send through this relay: one [[identity]] each. `gatepost pin` edits this file, so may you;
# a running relay takes it over when it changes. certs/README.md says how pins work.
"""


def read_allowlist(path: Path) -> Allowlist:
    """Read and check the list; a file that is not there yet is an empty one.

    Raises:
        ConfigurationError: it has mistakes.
    """
    return parse_allowlist(_read(path), path)


def add_identity(path: Path, values: Mapping[str, Any]) -> None:
    """Append an `[[identity]]`; `values` are its keys in the order to write them.

    Raises:
        ConfigurationError: the list would no longer be right.
    """
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, value)
    document = tomlkit.document()
    document.add("identity", tomlkit.aot())
    document["identity"].append(table)
    added = tomlkit.dumps(document).strip() + "\n"

    def append(text: str) -> str:
        text = text or _HEADER
        return text + ("" if text.endswith("\n") else "\n") + "\n" + added

    _edit(path, append)


def add_pins(path: Path, name: str, pins: Sequence[str]) -> None:
    """Add pins to an identity. Raises as `add_identity`, also if there is no such identity."""

    def change(identities: AoT, index: int) -> None:
        table = identities[index]
        known = table.get("pins")
        if isinstance(known, Array):
            known.extend(pins)
        else:
            _put(table, "pins", list(pins))

    _edit(path, lambda text: _changed(text, path, name, change))


def remove_pin(path: Path, name: str, pin: str) -> None:
    """Take one pin, in canonical spelling, from an identity; it must keep another or a name."""

    def change(identities: AoT, index: int) -> None:
        table = identities[index]
        pins = table.get("pins", [])
        spelled = next((each for each in pins if format_pin(parse_pin(each)) == pin), None)
        if spelled is None:
            remedy = f"see its pins with `gatepost pin show {name}`"
            raise ConfigurationError(f"{name} has no pin {pin}", remedy=remedy, path=path)
        pins.remove(spelled)
        if not pins and "names" in table:
            del table["pins"]
        elif not pins:
            remedy = f"remove the identity with `gatepost pin remove {name}`, or add a pin first"
            raise ConfigurationError(f"it is the only pin of {name}", remedy=remedy, path=path)

    _edit(path, lambda text: _changed(text, path, name, change))


def remove_identity(path: Path, name: str) -> None:
    """Take an identity out of the list. Raises as `add_pins`."""
    _edit(path, lambda text: _changed(text, path, name, lambda all_, index: all_.pop(index)))


def suspend_identity(path: Path, name: str, suspension: Suspension) -> None:
    """Suspend an identity, in place of what suspends it already. Raises as `add_pins`."""
    value = tomlkit.inline_table()
    value["reason"] = suspension.reason
    value["by"] = suspension.by
    for key, moment in (("at", suspension.at), ("until", suspension.until)):
        if moment is not None:
            value[key] = tomlkit.datetime(f"{moment:%Y-%m-%dT%H:%M:%SZ}")

    def change(identities: AoT, index: int) -> None:
        _put(identities[index], "suspended", value)

    _edit(path, lambda text: _changed(text, path, name, change))


def restore_identity(path: Path, name: str) -> None:
    """End a suspension. Raises as `add_pins`, also if there is none."""

    def change(identities: AoT, index: int) -> None:
        if identities[index].pop("suspended", None) is None:
            remedy = "see who is with `gatepost pin list`"
            raise ConfigurationError(f"{name} is not suspended", remedy=remedy, path=path)

    _edit(path, lambda text: _changed(text, path, name, change))


def _put(table: Table, key: str, value: object) -> None:
    """Set a key behind the last one; a comment behind that is about the next identity."""
    body = table.value.body
    end = 1 + max(index for index, (known, _) in enumerate(body) if known is not None)
    rest = body[end:]
    del body[end:]
    table[key] = value
    body.extend(rest)


def _changed(text: str, path: Path, name: str, change: Callable[[AoT, int], object]) -> str:
    document = tomlkit.parse(text)
    identities = document.get("identity", tomlkit.aot())
    if not isinstance(identities, AoT):
        remedy = "edit it by hand, or write each identity as [[identity]]"
        raise ConfigurationError(
            "identities in one line cannot be edited", remedy=remedy, path=path
        )
    for index, table in enumerate(identities):
        if table.get("name") == name:
            change(identities, index)
            return tomlkit.dumps(document)
    remedy = "see who is known with `gatepost pin list`"
    raise ConfigurationError(f"no identity is called {name}", remedy=remedy, path=path)


def _edit(path: Path, change: Callable[[str], str]) -> None:
    """Replace the text of the file by `change` of it, unless the outcome has mistakes."""
    path = path.resolve()  # a link stays a link
    with lock_folder(path.parent):
        before = _read(path)
        parse_allowlist(before, path)
        after = change(before)
        try:
            parse_allowlist(after, path)
        except ConfigurationError as error:
            # Its line would be one of a file that nobody is going to see.
            raise ConfigurationError(error.problem, remedy=error.remedy, path=path) from None
        replace_file(path, after.encode())


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()  # line ends as they are
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        remedy = "save the file as UTF-8"
        raise ConfigurationError("not UTF-8", remedy=remedy, path=path, line=line) from None
