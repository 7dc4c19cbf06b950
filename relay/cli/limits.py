"""`gatepost limits suggest`: limits for each tier that fit the mail of the last weeks, ready to paste."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, fail, progress
from relay.cli.since_option import SinceOption, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from relay.audit.query import Record
    from relay.policy.limits import Count, Limit, Rate
    from relay.policy.suggestion import Sent, Suggestion

__all__ = ["app", "suggest"]

app = typer.Typer(no_args_is_help=True)

_NETWORKS = "network_"
"""What the names of limits for clients without an identity begin with, as in the defaults."""


@app.callback()
def _group() -> None:
    """Limits: how much clients may send in how much time."""


@app.command()
def suggest(
    *,
    since: SinceOption = "30d",
    percentile: Annotated[
        float, typer.Option(help="How many of all hours and days must fit.", min=50, max=100)
    ] = 99,
    headroom: Annotated[
        float, typer.Option(help="How many times that is allowed.", min=1, max=100)
    ] = 2,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose limits from what is on record: TOML for a policy file. Exit code 1: no mail is."""
    from relay.policy.suggestion import Traffic, would_wait

    settings = load_configuration(config).settings
    begin, tiers = moment(since), _tiers(settings.allowlist)
    traffic = Traffic()
    with progress("Reading the audit trail"):
        for sent in _past(settings.audit.path, begin, tiers):
            traffic.add(sent)
        if not traffic.messages:
            fail(f"no mail is on record since {begin:%Y-%m-%d %H:%M} in {settings.audit.path}")
        found = list(traffic.suggest(percentile, headroom))
        rates = {(each.count, each.tier): each.rates for each in found}
        waiting = would_wait(_past(settings.audit.path, begin, tiers), rates)
    text = _as_toml(found, waiting)
    value = {
        "since": begin.isoformat(),
        "messages": traffic.messages,
        "limits": [_described(each, waiting[each.count, each.tier]) for each in found],
        "toml": text,
    }
    emit(
        value, as_json=as_json, human=lambda console: _show(console, traffic.messages, begin, text)
    )


def _tiers(allowlist: Path) -> "Mapping[str, str]":
    from relay.pki.allowlist import parse_allowlist

    listed = parse_allowlist(allowlist.read_text(), str(allowlist))
    return {each.name: each.tier.value for each in listed.identities}


def _past(trail: Path, begin: datetime, tiers: "Mapping[str, str]") -> "Iterator[Sent]":
    """The messages on record since a moment, the oldest first."""
    from relay.audit.query import records

    for record in records(trail, since=begin):
        if record.get("kind") == "transaction":
            sent = _sent(record, tiers)
            if sent is not None and sent.at >= begin.timestamp():
                yield sent


def _sent(record: "Record", tiers: "Mapping[str, str]") -> "Sent | None":
    """A record as a message; None for one that says too little (of an older version, say)."""
    from relay.model import Endpoint, Tier
    from relay.policy.ledger import network_of
    from relay.policy.limits import UNKNOWN_TIER
    from relay.policy.suggestion import Sent

    try:
        at = datetime.fromisoformat(record["time"]).timestamp()
        identity = record.get("identity", "")
        if identity:
            tier = tiers.get(identity, Tier.VERIFIED.value)
        else:
            tier = UNKNOWN_TIER
        who = identity or network_of(Endpoint(record["peer_address"], 0))
        return Sent(at, who, tier, len(record["recipients"]), int(record["size_bytes"]))
    except (KeyError, ValueError, TypeError):
        return None


def _described(suggestion: "Suggestion", waiting: int) -> dict[str, Any]:
    from relay.policy.suggestion import PERIODS

    spans = ("hour", "day")
    assert len(spans) == len(PERIODS)
    return {
        "name": _name_of(suggestion),
        "count": suggestion.count.value,
        "tier": suggestion.tier,
        "rate": _texts(suggestion.count, suggestion.rates),
        "clients": suggestion.clients,
        "busiest": dict(zip(spans, suggestion.busiest, strict=True)),
        "would_wait": waiting,
    }


def _name_of(suggestion: "Suggestion") -> str:
    from relay.policy.limits import UNKNOWN_TIER

    return f"{_NETWORKS if suggestion.tier == UNKNOWN_TIER else ''}{suggestion.count.value}"


def _texts(count: "Count", rates: "Sequence[Rate]") -> list[str]:
    from datetime import timedelta

    from relay.policy.limits import Count
    from relay.settings.values import format_duration, format_size

    return [
        f"{format_size(limit) if count is Count.BYTES else limit}/"
        f"{format_duration(timedelta(seconds=period))}"
        for limit, period in rates
    ]


def _shipped() -> "Mapping[str, Limit]":
    """The limits of the defaults, by name: a tier that nothing was seen of keeps what it has there."""
    from relay.policy_files import DEFAULTS, compile_stacks

    (engine,) = compile_stacks([(DEFAULTS,)], lambda _: "").values()
    return {limit.name: limit for limits in engine.limits.values() for limit in limits}


def _as_toml(found: "Sequence[Suggestion]", waiting: "Mapping[tuple[Count, str], int]") -> str:
    shipped = _shipped()
    tables: dict[str, list[Suggestion]] = {}
    for each in found:
        tables.setdefault(_name_of(each), []).append(each)
    return "\n".join(
        _table(name, suggestions, shipped.get(name), waiting)
        for name, suggestions in tables.items()
    )


def _table(
    name: str,
    suggestions: "Sequence[Suggestion]",
    shipped: "Limit | None",
    waiting: "Mapping[tuple[Count, str], int]",
) -> str:
    count = suggestions[0].count
    key = "peer.network" if name.startswith(_NETWORKS) else "identity.name"
    tiers = {tier: _texts(count, rates) for tier, rates in shipped.tiers.items()} if shipped else {}
    lines = ["[[limit]]", f'name = "{name}"', f'count = "{count.value}"', f'key = ["{key}"]']
    for each in suggestions:
        tiers[each.tier] = _texts(count, each.rates)
        held = waiting[each.count, each.tier]
        hour, day = each.busiest
        lines.append(
            f"# {each.tier}: {each.clients} clients; the busiest hour had {hour}, the busiest day {day}; "
            f"{held} messages would have had to wait"
        )
    written = ", ".join(f"{tier} = {_list(texts)}" for tier, texts in tiers.items())
    return "\n".join([*lines, f"tier = {{ {written} }}"]) + "\n"


def _list(texts: "Sequence[str]") -> str:
    quoted = ", ".join(f'"{text}"' for text in texts)
    return f"[{quoted}]"


def _show(console: "Console", messages: int, begin: datetime, text: str) -> None:
    console.print(f"# From {messages} messages since {begin.astimezone(UTC):%Y-%m-%d %H:%M} UTC.\n")
    console.print(text, end="")
