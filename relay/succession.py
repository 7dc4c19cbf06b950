"""A renewed certificate and the allowlist: the successor's pin first, the old one's end later.

Both pins stand until the old certificate ends, so that no message is refused in between. Knows
nothing of how a certificate was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.allowlist_file import add_pins, read_allowlist, remove_pin
from relay.pki.pins import format_pin, pin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from relay.pki.certificate import Certificate

__all__ = ["end_pins", "publish_successor"]


def publish_successor(path: Path, old: Certificate, new: Certificate) -> str | None:
    """Add the new pin to the identity that has the old one, if there is one.

    Returns:
        The identity's name; None if it is not known by a pin, and nothing was changed.
    """
    allowlist = read_allowlist(path)
    for kind in ("spki", "cert"):
        identity = allowlist.with_pin(format_pin(pin_of(old, kind)))
        if identity is None:
            continue
        successor = format_pin(pin_of(new, kind))
        if successor not in identity.pins:
            add_pins(path, identity.name, [successor])
        return identity.name
    return None


def end_pins(
    path: Path, name: str, end_of: Callable[[str], datetime | None], now: datetime
) -> list[str]:
    """Take those pins of keys from an identity whose last certificate of ours has ended.

    A pin that our CA never certified is the operator's own, and stays; so does the last one.

    Args:
        path: the allowlist.
        name: the identity's.
        end_of: says of a pin when the last certificate of its key ends; None if there is none.
        now: the present.

    Returns:
        The pins taken.
    """
    identity = read_allowlist(path).find(name)
    pins = () if identity is None else identity.pins
    over = [pin for pin in pins if (end := end_of(pin)) is not None and end < now]
    if len(over) == len(pins):
        over = over[:-1]
    for pin in over:
        remove_pin(path, name, pin)
    return over
