"""The allowlist: the operator's `[[identity]]` tables, checked, and found by pin or by name.

Reads text, not files, and knows nothing of certificates' validity: who a key belongs to stands
here, whether a certificate is good is `trust.py`'s business.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from difflib import get_close_matches
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.errors import ConfigurationError
from relay.model import Identity
from relay.pki.identity_fields import FIELDS, ElementMistake
from relay.pki.patterns import matches
from relay.toml_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    from relay.model import Address
    from relay.toml_lines import KeyPath

__all__ = ["Allowlist", "may_connect_from", "may_reach", "may_send", "parse_allowlist"]


class Allowlist:
    """All identities, found in constant time by pin and by certificate name.

    Pins and names belong to one identity each; `parse_allowlist` sees to it.
    """

    def __init__(self, identities: Iterable[Identity] = ()) -> None:
        self.identities = tuple(identities)
        self._by_pin = {pin: each for each in self.identities for pin in each.pins}
        self._by_name = {name: each for each in self.identities for name in each.names}
        self._by_own_name = {each.name: each for each in self.identities}

    def with_pin(self, pin: str) -> Identity | None:
        """The identity that has this pin, in canonical spelling."""
        return self._by_pin.get(pin)

    def with_name(self, name: str) -> Identity | None:
        """The identity that has this certificate name, in canonical spelling."""
        return self._by_name.get(name)

    def find(self, name: str) -> Identity | None:
        """The identity called so."""
        return self._by_own_name.get(name)

    def __len__(self) -> int:
        return len(self.identities)

    def __iter__(self) -> Iterator[Identity]:
        return iter(self.identities)


def may_send(identity: Identity, sender: Address | None) -> bool:
    """Whether an identity may use an address as sender or author; None is the null sender."""
    # RFC 5321 4.5.5: whoever sends mail must be able to send notifications about it, too
    return sender is None or identity.senders is None or matches(identity.senders, sender)


def may_reach(identity: Identity, recipient: Address) -> bool:
    """Whether an identity may send to a recipient."""
    # RFC 5321 4.5.1: the bare postmaster is always reached
    if identity.recipients is None or not recipient.domain:
        return True
    return matches(identity.recipients, recipient)


def may_connect_from(identity: Identity, address: IPv4Address | IPv6Address) -> bool:
    """Whether an identity may come from an address."""
    return identity.networks is None or any(address in network for network in identity.networks)


class _Mistake(NamedTuple):
    """A mistake with its place in the document, before the line is known."""

    place: KeyPath
    problem: str
    remedy: str


def parse_allowlist(text: str, path: Path | str) -> Allowlist:
    """Read an allowlist.

    Args:
        text: the TOML text.
        path: where it came from, for the mistakes.

    Raises:
        ConfigurationError: what is wrong, with line and remedy; further mistakes are its `others`.
    """
    text = text.removeprefix("\ufeff")
    document = _parse_toml(text, path)
    mistakes = [
        _unknown_key((key,), "the file", ["[[identity]]"]) for key in document if key != "identity"
    ]
    tables = document.get("identity", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        remedy = "open each identity with [[identity]]"
        mistakes.append(_Mistake(("identity",), "identity is no list of tables", remedy))
        tables = []
    identities = [_parse_identity(table, index, mistakes) for index, table in enumerate(tables)]
    identities = [each and _with_paths(each, PurePath(path).parent) for each in identities]
    mistakes.extend(_repetitions(identities))
    if mistakes:
        raise _as_error(mistakes, text, path)
    return Allowlist(each for each in identities if each)


def _parse_toml(text: str, path: Path | str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        problem = str(error).partition(" (at ")[0] if isinstance(error, ValueError) else "too deep"
        raise ConfigurationError(
            f"no valid TOML: {problem}", remedy="correct this line", path=path, line=line
        ) from None


def _as_error(mistakes: list[_Mistake], text: str, path: Path | str) -> ConfigurationError:
    lines = index_lines(text)
    errors: list[ConfigurationError] = []
    for place, problem, remedy in mistakes:
        known = next(place[:end] for end in range(len(place), -1, -1) if place[:end] in lines)
        errors.append(ConfigurationError(problem, remedy=remedy, path=path, line=lines[known]))
    first, *others = sorted(errors, key=lambda error: error.line or 0)
    first.others = tuple(others)
    return first


def _unknown_key(place: KeyPath, where: str, known: Iterable[str]) -> _Mistake:
    key = str(place[-1])
    close = get_close_matches(key, known, 1)
    remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return _Mistake(place, f"unknown key {key[:100]!r} in {where}", remedy)


# --- one identity ---------------------------------------------------------------------------


def _parse_identity(
    table: Mapping[str, Any], index: int, mistakes: list[_Mistake]
) -> Identity | None:
    """Check one table; add what is wrong to `mistakes`. None if there is no identity to speak of."""
    before = len(mistakes)
    values: dict[str, Any] = {}
    for key, value in table.items():
        place: KeyPath = ("identity", index, key)
        if key not in FIELDS:
            mistakes.append(_unknown_key(place, "[[identity]]", FIELDS))
            continue
        try:
            values[key] = FIELDS[key](value)
        except ConfigurationError as error:
            if isinstance(error, ElementMistake):
                place = (*place, error.index)
            mistakes.append(_Mistake(place, f"{key}: {error.problem}", error.remedy))
    if len(mistakes) == before:
        mistakes.extend(_contradictions(values, index))
    if len(mistakes) > before:
        return None
    values.setdefault("chain", "pin-only" if "pins" in values else "required")
    return Identity(**values)


def _with_paths(identity: Identity, folder: PurePath) -> Identity:
    """Make the paths of an identity's policy files relative to the allowlist's folder."""
    if not identity.policy:
        return identity
    return replace(identity, policy=tuple(str(folder / each) for each in identity.policy))


def _contradictions(values: Mapping[str, Any], index: int) -> Iterator[_Mistake]:
    place = ("identity", index)
    label = f"identity {values.get('name', '')!r}"
    if "name" not in values:
        yield _Mistake(place, "an identity without a name", 'add name = "..."')
    if "pins" not in values and "names" not in values:
        remedy = "add pins = [...] (gatepost cert show FILE prints them) or names = [...]"
        yield _Mistake(place, f"{label} has neither pins nor names", remedy)
    if "pins" not in values and values.get("chain") == "pin-only":
        remedy = 'add pins, or write chain = "required": a name counts only if a CA vouches for it'
        yield _Mistake((*place, "chain"), f"{label} is pin-only and has no pins", remedy)
    start, end = values.get("not_before"), values.get("not_after")
    if start and end and end < start:
        remedy = "put not_after behind not_before"
        yield _Mistake((*place, "not_after"), f"{label} ends before it begins", remedy)


def _repetitions(identities: Iterable[Identity | None]) -> Iterator[_Mistake]:
    """Find names of identities, pins and certificate names that stand in the list twice."""
    owners: dict[str, str] = {}
    for index, identity in enumerate(identities):
        if identity is None:
            continue
        place: KeyPath = ("identity", index)
        if f"name {identity.name}" in owners:
            remedy = "give each its own name, or join the two"
            yield _Mistake((*place, "name"), f"duplicate identity {identity.name!r}", remedy)
        owners.setdefault(f"name {identity.name}", identity.name)
        for key, texts in (("pins", identity.pins), ("names", identity.names)):
            for number, text in enumerate(texts):
                if text in owners:
                    word = "pin" if key == "pins" else "name"
                    problem = f"overlapping {word} {text}: identity {owners[text]!r} has it already"
                    remedy = f"leave each {word} with one identity only"
                    yield _Mistake((*place, key, number), problem, remedy)
                owners.setdefault(text, identity.name)
