"""Name servers that cannot be asked, or are believed too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mistakes import Mistake, mistake_by
from relay.net.name_servers import parse_name_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings.dns import Dns

__all__ = ["check_dns"]


def check_dns(dns: Dns) -> Iterator[Mistake]:
    """Look at `[dns]`."""
    for number, text in enumerate(dns.servers):
        key = ("dns", "servers", number)
        try:
            server = parse_name_server(text)
        except ValueError as error:
            yield mistake_by(error, key, "dns.servers")
            continue
        if dns.trust_ad and not server.is_out_of_reach:
            # RFC 4035 4.9.3: only over a channel that nobody else can write to
            yield Mistake(
                key,
                f'`trust_ad` believes "{text}", but anybody on the way could change its answers',
                "use a validating server on this machine or over TLS, or leave `trust_ad` out",
            )
    if dns.min_ttl > dns.max_ttl:
        yield Mistake(("dns", "min_ttl"), "`min_ttl` is longer than `max_ttl`", "lower it")
