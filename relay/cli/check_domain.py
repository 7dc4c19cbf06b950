"""`gatepost check domain`: what a domain publishes for mail, as others see it."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.context import ConfigOption, JsonOption, find_config
from relay.cli.finding import SIGNS
from relay.cli.output import emit, progress
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from relay.doctor import Examination
    from relay.settings.dns import Dns
    from relay.settings.mailauth import Dkim

__all__ = ["domain"]

_OK, _FINDINGS, _UNKNOWN = 0, 1, 2
_MAX_POLICY_BYTES = 64 * 1024  # RFC 8461 3.2


def domain(
    domains: Annotated[list[str], typer.Argument(help="Domains.", show_default=False)],
    *,
    selector: Annotated[
        list[str] | None,
        typer.Option(help="A DKIM key that must be there, besides those of the configuration."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine what domains publish: MX and PTR, SPF, DKIM keys, DMARC, MTA-STS, TLSA, TLS-RPT.

    Works without a configuration, too. Exit code 0: all is well; 1: there are findings; 2: a domain could
    not be examined.
    """
    from relay.settings.values import is_host_name

    for each in domains:
        if not is_host_name(each):
            remedy = 'write a domain, as "example.org"'
            raise ConfigurationError(f'"{each}" is no domain', remedy=remedy)
    with progress("Asking the DNS"):
        found = asyncio.run(_examine(domains, selector or (), *_settings(config)))
    emit(
        [_plain(each) for each in found],
        as_json=as_json,
        human=lambda console: _show(console, found),
    )
    if any(each.failure for each in found):
        raise typer.Exit(_UNKNOWN)
    if any(each.problems for each in found):
        raise typer.Exit(_FINDINGS)


def _settings(config: "Path | None") -> "tuple[Dns, Dkim]":
    """How names are looked up, and our own keys: of the configuration if there is one."""
    import os

    from relay.config import load
    from relay.settings.dns import Dns
    from relay.settings.mailauth import Dkim

    try:
        path = find_config(config)
    except ConfigurationError:
        return Dns(), Dkim()
    settings = load(path, os.environ).settings
    return settings.dns, settings.dkim


async def _examine(
    domains: "Sequence[str]", selectors: "Sequence[str]", dns: "Dns", dkim: "Dkim"
) -> "list[Examination]":
    from relay.doctor import Doctor, selectors_of
    from relay.net.fetcher import Fetcher
    from relay.net.name_servers import find_name_servers
    from relay.net.resolver import open_resolver

    async with AsyncExitStack() as stack:
        resolver = open_resolver(dns)
        stack.push_async_callback(resolver.close)
        fetcher = await stack.enter_async_context(Fetcher(timedelta(seconds=30), _MAX_POLICY_BYTES))

        async def fetch(url: str) -> bytes:
            return (await fetcher.get(url)).body

        servers = find_name_servers(dns.servers)
        doctor = Doctor(resolver, servers, fetch, dns.timeout.total_seconds())
        return [
            await doctor.examine(each, {*selectors_of(dkim, each), *selectors}) for each in domains
        ]


def _plain(examination: "Examination") -> dict[str, object]:
    return {
        "domain": examination.domain,
        "failure": examination.failure,
        "findings": [each._asdict() for each in examination.symptoms],
    }


def _show(console: "Console", found: "list[Examination]") -> None:
    for each in found:
        console.print(each.domain)
        if each.failure:
            console.print(f"  could not be examined: {each.failure}")
        for level, topic, text in each.symptoms:
            console.print(f"  {SIGNS[level]}{topic}: {text}")
