"""What is worth saying about the store: whether it is fit for production, and whether it answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from relay.cli.finding import Finding
from relay.errors import ConfigurationError, Unavailable
from relay.model import Charge
from relay.settings.values import is_loopback
from relay.state.opening import open_store
from relay.state.redis_address import parse_store_url
from relay.state.sqlite_file import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.config import Configuration
    from relay.ports import Store
    from relay.settings.state import State

__all__ = ["find_state", "try_state"]


def find_state(configuration: Configuration) -> Iterator[Finding]:
    """Say what is wrong with the settings, or will hurt."""
    state = configuration.settings.state
    if state.kind == "memory":
        yield Finding(
            "warning",
            str(configuration.origin("state", "kind")),
            "each worker counts for itself, and a restart forgets counters, bans and suspensions",
            'use `kind = "sqlite"`, or "redis" for several nodes',
        )
    for position, text in enumerate(state.url):
        url = parse_store_url(text, state.topology)
        if not url.is_tls and not is_loopback(url.endpoint.address):
            yield Finding(
                "warning",
                str(configuration.origin("state", "url", position)),
                f"what is remembered crosses the network in clear to {url.endpoint}",
                "use rediss://",
            )


def try_state(configuration: Configuration) -> list[Finding]:
    """Ask the store, in the way that workers do; it takes nothing."""
    settings = configuration.settings
    place = f"state, {_described(settings.state)}"
    if settings.state.kind == "sqlite" and not (settings.state_dir / FILE_NAME).exists():
        return [Finding("ok", place, "is made at the first start")]
    try:
        store = open_store(settings.state, settings.state_dir)
    except ConfigurationError as error:
        return [Finding("error", place, error.problem, error.remedy)]
    return [asyncio.run(_try(store, place))]


async def _try(store: Store, place: str) -> Finding:
    begun = time.perf_counter()
    try:
        await store.spend([Charge("check", 0, 1, 1.0)], time.time())
        elapsed = time.perf_counter() - begun
        restrictions = await store.restrictions()
    except Unavailable as error:
        remedy = "start it, or correct `[state]`; until then rules that need it defer (451)"
        return Finding("error", place, str(error), remedy)
    finally:
        await store.close()
    return Finding(
        "ok", place, f"answers in {1000 * elapsed:.1f} ms; {len(restrictions)} restrictions"
    )


def _described(state: State) -> str:
    return ", ".join(state.url) or state.kind
