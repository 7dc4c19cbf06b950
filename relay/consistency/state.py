"""A store that cannot be where it is said to be, or more said of it than it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mistakes import Mistake, mistake_by
from relay.state.redis_address import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings.state import State
    from relay.toml_lines import KeyPath

__all__ = ["check_state"]


def check_state(state: State) -> Iterator[Mistake]:
    """Look at `[state]`."""
    key: KeyPath = ("state",)
    if state.kind != "redis":
        if state.url:
            yield Mistake(
                (*key, "url"),
                f'`state.url` says nothing with `kind` = "{state.kind}"',
                'set `kind = "redis"`, or leave it out',
            )
        return
    if not state.url:
        yield Mistake(
            (*key, "kind"), "`state.url` is missing", 'add `url = ["redis://state.internal:6379"]`'
        )
    yield from _check_state_urls(state)
    yield from _check_topology(state)
    if state.password is not None and state.password_file is not None:
        yield Mistake((*key, "password_file"), "`state.password` is set too", "keep one of the two")


def _check_state_urls(state: State) -> Iterator[Mistake]:
    are_tls: set[bool] = set()
    for position, text in enumerate(state.url):
        try:
            are_tls.add(parse_store_url(text, state.topology).is_tls)
        except ValueError as error:
            yield mistake_by(error, ("state", "url", position), "state.url")
    if len(are_tls) > 1:
        yield Mistake(
            ("state", "url"), "`state.url` mixes redis:// and rediss://", "use one of the two"
        )
    for name in ("ca", "client_certificate"):
        if are_tls == {False} and getattr(state, name) is not None:
            yield Mistake(
                ("state", name),
                f"`state.{name}` says nothing with redis://, which is not encrypted",
                "write rediss:// in `url`, or leave it out",
            )


def _check_topology(state: State) -> Iterator[Mistake]:
    if state.topology == "standalone" and len(state.url) > 1:
        yield Mistake(
            ("state", "url"),
            f"`state.url` names {len(state.url)} servers, and a standalone one is one",
            'set `topology` to "sentinel" or "cluster", or keep one',
        )
    if state.topology == "sentinel" and not state.service:
        yield Mistake(
            ("state", "topology"), "`state.service` is missing", 'add `service = "mymaster"`'
        )
    for name in ("service", "sentinel_username", "sentinel_password_file"):
        if state.topology != "sentinel" and getattr(state, name):
            yield Mistake(
                ("state", name),
                f'`state.{name}` says nothing with `topology` = "{state.topology}"',
                'set `topology = "sentinel"`, or leave it out',
            )
    if state.topology == "cluster" and state.database:
        yield Mistake(
            ("state", "database"), "a Cluster has the database 0 only", "leave `database` out"
        )
