"""Mistakes that no single key shows: settings that contradict each other or make no sense.

One file a table, as in `relay/settings`. Pure: knows the settings' meaning, no file and no socket.
`config.py` adds the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.consistency.dns import check_dns
from relay.consistency.hygiene import check_removed_headers
from relay.consistency.limits import check_limits
from relay.consistency.listener import check_listeners
from relay.consistency.mailauth import check_dkim, check_dmarc_reports, check_doctor
from relay.consistency.revocation import check_revocation
from relay.consistency.route import check_routes
from relay.consistency.state import check_state
from relay.mistakes import Mistake
from relay.settings.values import is_host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings

__all__ = ["find_mistakes"]


def find_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Look at the settings as a whole; yield every contradiction found."""
    yield from _check_hostname(settings.hostname)
    yield from check_listeners(settings)
    yield from check_routes(settings)
    yield from check_limits(settings)
    yield from check_dns(settings.dns)
    yield from check_state(settings.state)
    yield from check_revocation(settings)
    yield from check_dkim(settings.dkim)
    yield from check_dmarc_reports(settings.dmarc_reports)
    yield from check_removed_headers(settings)
    yield from check_doctor(settings.doctor)


def _check_hostname(hostname: str) -> Iterator[Mistake]:
    # RFC 5321 2.3.5: EHLO and the banner want a name, not a bare address
    if not is_host_name(hostname):
        yield Mistake(
            ("hostname",),
            f'`hostname` = "{hostname}" is no host name',
            'write the name of this machine, as "edge.example.org"',
        )
