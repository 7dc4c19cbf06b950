"""The keys of `[[identity]]`: what each may hold, and how it is made canonical.

One function a kind of value, one table of keys. Knows nothing of files, lines or other identities.
Every function raises ConfigurationError without a place.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final, TypeVar

from relay.errors import ConfigurationError
from relay.model import Suspension, Tier
from relay.pki.names import parse_name
from relay.pki.patterns import parse_pattern
from relay.pki.pins import format_pin, parse_pin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.model import Network

__all__ = ["FIELDS", "ElementMistake"]

_T = TypeVar("_T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ElementMistake(ConfigurationError):
    """A mistake in one element of a list: `index` says in which."""

    def __init__(self, index: int, error: ConfigurationError) -> None:
        super().__init__(error.problem, remedy=error.remedy)
        self.index = index


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _string(value: Any) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    raise ConfigurationError(f"{_shown(value)} is not plain text", remedy='write it as "..."')


def _identity_name(value: Any) -> str:
    # It stands in replies, header fields, log lines and metrics: nothing that needs quoting there.
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    remedy = "use letters, digits, '.', '_' and '-', at most 64 of them"
    raise ConfigurationError(f"{_shown(value)} cannot name an identity", remedy=remedy)


def _list_of(parse: Callable[[str], _T]) -> Callable[[Any], tuple[_T, ...]]:
    def parse_list(value: Any) -> tuple[_T, ...]:
        if not isinstance(value, list):
            remedy = 'write it as ["...", "..."]'
            raise ConfigurationError(f"{_shown(value)} is no list", remedy=remedy)
        if not value:
            # Is it "nothing" or "no limit"? Nobody should have to guess.
            raise ConfigurationError("the list is empty", remedy="fill it, or leave the key out")
        return tuple(_element(parse, index, each) for index, each in enumerate(value))

    return parse_list


def _element(parse: Callable[[str], _T], index: int, value: Any) -> _T:
    try:
        return parse(_string(value))
    except ConfigurationError as error:
        raise ElementMistake(index, error) from None


def _pin(text: str) -> str:
    return format_pin(parse_pin(text))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            right = ip_network(text, strict=False)
            raise ConfigurationError(
                f"{text!r} is an address, not the network around it", remedy=f'write "{right}"'
            ) from None
        remedy = 'write it as "192.0.2.0/24", "2001:db8::/32" or one address'
        raise ConfigurationError(f"{text!r} is no network", remedy=remedy) from None


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        choices = " or ".join(f'"{word}"' for word in words)
        raise ConfigurationError(f"{_shown(value)} is not known", remedy=f"write {choices}")

    return parse


def _tier(value: Any) -> Tier:
    return Tier(_one_of(*Tier)(value))


def _moment(of_a_day: time) -> Callable[[Any], datetime]:
    """Read a date or a time with its zone; a date alone is that day in UTC, at `of_a_day`."""

    def parse(value: Any) -> datetime:
        if isinstance(value, datetime) and value.tzinfo is not None:
            try:
                return value.astimezone(UTC)
            except OverflowError:
                pass
        elif isinstance(value, date) and not isinstance(value, datetime):
            return datetime.combine(value, of_a_day, UTC)
        remedy = "write it as 2027-01-31 or 2027-01-31T12:00:00Z, without quotes"
        raise ConfigurationError(f"{_shown(value)} is no date with a time zone", remedy=remedy)

    return parse


def _suspension(value: Any) -> Suspension:
    if not isinstance(value, dict) or "reason" not in value:
        remedy = 'write it as { reason = "..." }, or use `gatepost pin suspend`'
        raise ConfigurationError(f"{_shown(value)} gives no reason", remedy=remedy)
    if unknown := sorted(value.keys() - _SUSPENSION_FIELDS.keys()):
        remedy = f"known are {', '.join(_SUSPENSION_FIELDS)}"
        raise ConfigurationError(f"unknown key {_shown(unknown[0])}", remedy=remedy)
    fields: dict[str, Any] = {}
    for key, each in value.items():
        try:
            fields[key] = _SUSPENSION_FIELDS[key](each)
        except ConfigurationError as error:
            raise ConfigurationError(f"{key}: {error.problem}", remedy=error.remedy) from None
    return Suspension(**fields)


_SUSPENSION_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "reason": _string,
    "by": _string,
    "at": _moment(time.min),
    "until": _moment(time.max),
}

FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": _identity_name,
    "pins": _list_of(_pin),
    "names": _list_of(parse_name),
    "chain": _one_of("required", "pin-only"),
    "revocation": _one_of("hard", "soft", "off"),
    "senders": _list_of(parse_pattern),
    "recipients": _list_of(parse_pattern),
    "header_from": _one_of("senders", "any"),
    "networks": _list_of(_network),
    "tier": _tier,
    "not_before": _moment(time.min),
    "not_after": _moment(time.max),
    "contact": _string,
    "policy": _list_of(_string),
    "suspended": _suspension,
}
"""What each key of `[[identity]]` becomes; the keys are the fields of `model.Identity`."""
