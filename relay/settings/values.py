"""How values are written: durations, sizes, networks, addresses and host names.

Pure: reads texts and spells values as it reads them; knows no key of the configuration.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from relay.model import Endpoint, Network

__all__ = [
    "Duration",
    "NetworkField",
    "Size",
    "format_duration",
    "format_size",
    "is_host_name",
    "is_loopback",
    "parse_duration",
    "parse_endpoint",
    "parse_network",
    "parse_size",
]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3,
          "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}  # fmt: skip


def parse_duration(value: Any) -> Any:
    """Read "30s", "5m", "1h30m", "7d"; other types pass to pydantic, which objects."""
    if not isinstance(value, str):
        raise ValueError('a duration is text with a unit; write it as "30s", "5m", "1h30m" or "7d"')  # noqa: TRY004
    if not re.fullmatch(r"(\d+(?:ms|[smhdw]))+", value):
        raise ValueError(f'{value!r} is no duration; write it as "30s", "5m", "1h30m" or "7d"')
    parts = re.findall(r"(\d+)(ms|[smhdw])", value)
    try:
        return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f'{value!r} is too long; write it as "30s", "5m" or "7d"') from None


def parse_size(value: Any) -> Any:
    """Read "64MiB", "25MB", "512KiB" or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZES:
        raise ValueError(
            f'{value!r} is no size; write it as "25MiB", "512KiB" or a number of bytes'
        )
    return int(found[1]) * _SIZES[found[2]]


def parse_network(value: Any) -> Any:
    """Read "192.0.2.0/24", "2001:db8::/32" or a single address."""
    try:
        if isinstance(value, str):  # ip_network takes numbers, too
            return ip_network(value)
    except ValueError:
        pass
    raise ValueError(
        f'{value!r} is no network; write it as "192.0.2.0/24", "2001:db8::/32" or one address'
    )


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Read "host:port", "192.0.2.1:25" or "[2001:db8::1]:25" (RFC 3986 3.2.2).

    Args:
        text: as the operator wrote it.
        default_port: the port if none is written; without it, a port must be there.

    Raises:
        ValueError: it is none; the text says how to write it.
    """
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text, re.ASCII)
    example = "mx.example.org:25" if default_port else "0.0.0.0:25"
    advice = f'write it as "{example}" or "[2001:db8::1]:25"'
    if found is None:
        raise ValueError(f'"{text}" is no address with a port; {advice}')
    if found[3] is None and default_port is None:
        raise ValueError(f'"{text}" names no port; {advice}')
    port = int(found[3] or default_port or 0)
    if port > 65535:
        raise ValueError(f"{port} is no port; use 1 to 65535")
    host = found[1] or found[2]
    is_sound = _is_ip(host, 6) if found[1] else (_is_ip(host, 4) or is_host_name(host))
    if not is_sound:
        raise ValueError(f'"{host}" is neither a host name nor an IP address; {advice}')
    return Endpoint(host, port)


def is_host_name(text: str) -> bool:
    """Whether it is a DNS name by RFC 1123 2.1, underscores allowed, as text or A-labels."""
    name = text.removesuffix(".")
    labels = name.split(".")
    # RFC 3696 2: a top-level domain is not all digits, so a mistyped IPv4 address is no name.
    return (
        len(name) <= 253
        and not labels[-1].isdigit()
        and all(re.fullmatch(r"\w(?:[\w-]{0,61}\w)?", label) for label in labels)
    )


def is_loopback(host: str) -> bool:
    """Whether a next hop is this machine: a loopback address or `localhost` (RFC 6761 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def _is_ip(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def format_duration(value: timedelta) -> str:
    """Spell a duration as `parse_duration` reads it, in the largest unit that fits: "90s", "7d"."""
    milliseconds = round(value / timedelta(milliseconds=1))
    if not milliseconds:
        return "0s"
    whole = (unit for unit in ("d", "h", "m", "s") if milliseconds % (_UNITS[unit] * 1000) == 0)
    unit = next(whole, "ms")
    return f"{round(milliseconds / (_UNITS[unit] * 1000))}{unit}"


def format_size(value: int) -> str:
    """Spell a size as `parse_size` reads it, in the largest unit that fits: "64MiB"."""
    units = ("GiB", "MiB", "KiB", "GB", "MB", "kB")
    unit = next((unit for unit in units if value and value % _SIZES[unit] == 0), "")
    return f"{value // _SIZES[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(ms|[smhdw]))+$"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+\s*(B|kB|MB|GB|KiB|MiB|GiB)?$"},
            ]
        }
    ),
    Field(ge=0),
]
NetworkField = Annotated[
    Network,
    BeforeValidator(parse_network),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
