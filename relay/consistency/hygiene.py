"""Header fields to take out that are none, or that mail can't do without."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from relay.mail.hygiene import is_indispensable
from relay.mistakes import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings
    from relay.toml_lines import KeyPath

__all__ = ["check_removed_headers"]


def check_removed_headers(settings: Settings) -> Iterator[Mistake]:
    """Look at `remove_headers` of all listeners and routes."""
    lists: list[tuple[KeyPath, tuple[str, ...]]] = [
        (("listener", position), listener.remove_headers)
        for position, listener in enumerate(settings.listener)
    ]
    lists += [(("route", name), route.remove_headers) for name, route in settings.route.items()]
    for key, names in lists:
        for position, name in enumerate(names):
            place = (*key, "remove_headers", position)
            # RFC 5322 3.6.8: printable, and no colon
            if not re.fullmatch(r"[!-)+-9;-~]+\*?", name):
                remedy = 'write the name alone, as "X-Originating-IP" or "X-Internal-*"'
                yield Mistake(place, f'`remove_headers`: "{name}" is no header field', remedy)
            elif is_indispensable(name):
                remedy = "leave it out; for Received there is `received`"
                yield Mistake(place, f'`remove_headers`: mail can\'t do without "{name}"', remedy)
