"""SPF records: one text read into directives and modifiers, with every mistake in it found (RFC 7208 4.6, 5, 6).

Knows nothing of messages and of the DNS; what a record means for one is `spf.py`'s.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.mailauth.spf_macro import parse_domain_spec, parse_macro_string
from relay.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.mailauth.spf_macro import MacroString

__all__ = ["MAX_RECORD_LENGTH", "Directive", "Record", "is_spf", "parse_record"]

MAX_RECORD_LENGTH: Final = 8192
"""Longer ones count as mistaken: 512 bytes of DNS answer are what RFC 7208 3.4 hopes for."""

_QUALIFIERS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.ASCII | re.DOTALL)
_MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z0-9]+)([:/].*)?", re.ASCII | re.DOTALL)
_NUMBER: Final = r"(0|[1-9]\d{0,2})"
_DUAL_CIDR: Final = re.compile(rf"(?s)(.*?)(?:/{_NUMBER})?(?://{_NUMBER})?", re.ASCII)
_CIDR: Final = re.compile(rf"(?s)(.*?)(?:/{_NUMBER})?", re.ASCII)


class Directive(NamedTuple):
    """A mechanism and the `result` it gives where it matches; `text` is how it was written.

    `spec` is its domain, None for the one being checked. `network` and `shifts` are for addresses as
    numbers: two match if they are equal, shifted right by the first (IPv4) or second (IPv6).
    """

    result: str
    mechanism: str
    text: str
    spec: MacroString | None = None
    network: int = 0
    shifts: tuple[int, int] = (0, 0)


class Record(NamedTuple):
    """A whole record; `explanation` and `redirect` are the domains of its modifiers."""

    directives: tuple[Directive, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record (RFC 7208 4.5)."""
    return text[:6].lower() == "v=spf1" and text[6:7] in {"", " "}


@remembered(256, longest=1024)  # a record may become a hundred times as large as its text
def parse_record(text: str) -> Record | str:
    """Read a record that `is_spf`; return what is wrong with it if anything is."""
    if len(text) > MAX_RECORD_LENGTH:
        return f"the record is longer than {MAX_RECORD_LENGTH} characters"
    if not text.isascii():
        return "the record is not ASCII"
    directives: list[Directive] = []
    modifiers: dict[str, MacroString] = {}
    try:
        for term in text[6:].split(" "):
            if modifier := _MODIFIER.fullmatch(term):
                _add_modifier(modifiers, modifier[1].lower(), modifier[2])
            elif term:
                directives.append(_parse_directive(term))
    except ValueError as error:
        return str(error)
    return Record(tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


def _add_modifier(modifiers: dict[str, MacroString], name: str, value: str) -> None:
    if name not in {"redirect", "exp"}:
        parse_macro_string(value)  # RFC 7208 6: unknown ones are ignored, but must be well-formed
        return
    if name in modifiers:
        raise ValueError(f'"{name}=" stands there twice')
    modifiers[name] = parse_domain_spec(value)


def _parse_directive(term: str) -> Directive:
    found = _MECHANISM.fullmatch(term)
    read = _MECHANISMS.get(found[2].lower()) if found else None
    if found is None or read is None:
        raise ValueError(f"{term[:60]!a} is no mechanism")
    result = _QUALIFIERS[found[1] or "+"]
    try:
        return read(Directive(result, found[2].lower(), term), found[3] or "")
    except ValueError as error:
        raise ValueError(f"{term[:60]!a}: {error}") from None


def _all(directive: Directive, argument: str) -> Directive:
    if argument:
        raise ValueError("all takes no argument")
    return directive


def _with_domain(directive: Directive, argument: str) -> Directive:
    if not argument.startswith(":"):
        raise ValueError("the domain is missing")
    return directive._replace(spec=parse_domain_spec(argument[1:]))


def _ptr(directive: Directive, argument: str) -> Directive:
    return _with_domain(directive, argument) if argument else directive


def _with_addresses(directive: Directive, argument: str) -> Directive:
    """`a` and `mx`: a domain or none, prefix lengths for both kinds of addresses or none."""
    found = _DUAL_CIDR.fullmatch(argument)
    assert found is not None
    directive = directive._replace(shifts=(_shift(found[2], 32), _shift(found[3], 128)))
    return _with_domain(directive, found[1]) if found[1] else directive


def _ip4(directive: Directive, argument: str) -> Directive:
    address, shift = _network(argument, 32)
    return directive._replace(network=int(IPv4Address(address)) >> shift, shifts=(shift, 0))


def _ip6(directive: Directive, argument: str) -> Directive:
    address, shift = _network(argument, 128)
    if "%" in address:  # a scope, which only this machine knows
        raise ValueError("no address")
    return directive._replace(network=int(IPv6Address(address)) >> shift, shifts=(0, shift))


def _network(argument: str, width: int) -> tuple[str, int]:
    found = _CIDR.fullmatch(argument)
    if found is None or not found[1].startswith(":"):
        raise ValueError("the address is missing")
    return found[1][1:], _shift(found[2], width)


def _shift(length: str | None, width: int) -> int:
    """How far addresses are shifted so that a prefix of this length is left."""
    if length is None:
        return 0
    if int(length) > width:
        raise ValueError(f"no prefix of {width} bits is {length} bits long")
    return width - int(length)


_MECHANISMS: Final[dict[str, Callable[[Directive, str], Directive]]] = {
    "all": _all,
    "include": _with_domain,
    "a": _with_addresses,
    "mx": _with_addresses,
    "ptr": _ptr,
    "ip4": _ip4,
    "ip6": _ip6,
    "exists": _with_domain,
}
