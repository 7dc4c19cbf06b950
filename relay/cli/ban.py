"""`gatepost ban`: networks that are refused, for a time or for good; what the policy has put in force, too."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.operator_acts import operator, put_on_record
from relay.cli.output import emit, fail, table
from relay.cli.restriction_options import ReasonOption, end_of
from relay.cli.shared_state import ask_store
from relay.cli.site import find_site
from relay.errors import ConfigurationError
from relay.model import Restriction, RestrictionKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from relay.ports import Store

__all__ = ["add", "app", "list_restrictions", "remove"]

app = typer.Typer(no_args_is_help=True)

_T = TypeVar("_T")


@app.callback()
def _group() -> None:
    """Who is refused: networks, and identities that the policy has suspended."""


@app.command()
def add(
    network: Annotated[
        str, typer.Argument(help="192.0.2.7, 192.0.2.0/24 or 2001:db8::/64.", show_default=False)
    ],
    *,
    reason: ReasonOption,
    duration: Annotated[
        str, typer.Option("--for", help="For how long: 30m, 2h, 7d; else until `ban remove`.")
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a network, on all nodes that share the state, within a second."""
    now = datetime.now(UTC)
    subject, end = _network(network), end_of(now, duration)
    since, until = now.timestamp(), end.timestamp() if end else None

    async def act(store: "Store") -> Restriction:
        former = [
            each
            for each in await store.restrictions()
            if (each.kind, each.subject) == (RestrictionKind.BAN, subject)
        ]
        times = 1 + max((each.times for each in former), default=0)
        ban = Restriction(RestrictionKind.BAN, subject, reason, operator(), since, until, times)
        await store.restrict(ban)
        return ban

    ban = _ask(config, act)
    ending = {"until": end.isoformat(timespec="seconds")} if end else {}
    put_on_record(find_site(config), "ban.add", subject, reason=reason, **ending)
    emit(_described(ban), as_json=as_json, human=lambda console: _show(console, [ban]))


@app.command()
def remove(
    subject: Annotated[
        str,
        typer.Argument(
            help="A network as `ban list` shows it, or an identity.", show_default=False
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a ban back, or the suspension of an identity that a rule has imposed. Exit code 1: there was none."""
    kind = RestrictionKind.BAN
    try:
        subject = _network(subject)
    except ConfigurationError:
        kind = RestrictionKind.SUSPENSION
    was_there = _ask(config, lambda store: store.lift(kind, subject))
    if not was_there:
        fail(f"{subject} is not under a {kind}")
    put_on_record(find_site(config), "ban.remove", subject)
    value = {"kind": str(kind), "subject": subject, "removed": True}
    emit(value, as_json=as_json, human=lambda console: console.print(f"{subject}: {kind} removed"))


@app.command("list")
def list_restrictions(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is over, but remembered.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who is refused, since when, until when and why."""
    now = time.time()

    async def act(store: "Store") -> list[Restriction]:
        found = await store.restrictions()
        shown = [each for each in found if everything or each.is_in_force(now)]
        return sorted(shown, key=lambda each: (each.kind, -each.since))

    found = _ask(config, act)
    emit(
        [_described(each) for each in found],
        as_json=as_json,
        human=lambda console: _show(console, found),
    )


def _ask(config: Path | None, act: "Callable[[Store], Awaitable[_T]]") -> _T:
    """Do something with the store of a configuration file."""
    return ask_store(load_configuration(config).settings, act)


def _network(text: str) -> str:
    from relay.settings.values import parse_network

    try:
        return str(parse_network(text))
    except ValueError as error:
        problem, _, remedy = str(error).partition("; ")
        raise ConfigurationError(problem, remedy=remedy) from None


def _described(restriction: Restriction) -> dict[str, object]:
    until = restriction.until
    return {
        "kind": str(restriction.kind),
        "subject": restriction.subject,
        "reason": restriction.reason,
        "by": restriction.by,
        "since": _moment(restriction.since),
        "until": None if until is None else _moment(until),
        "times": restriction.times,
    }


def _show(console: "Console", restrictions: list[Restriction]) -> None:
    headings = ("kind", "subject", "until", "times", "by", "since", "reason")
    described = [_described(each) for each in restrictions]
    rows = (
        tuple(each[key] or ("for good" if key == "until" else "") for key in headings)
        for each in described
    )
    console.print(table(headings, rows))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
