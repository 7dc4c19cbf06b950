"""`gatepost policy replay` and `diff`: what other rules would have made of the mail of last week.

Decides again what the audit trail holds, from the facts in it; asks nobody and changes nothing.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, fail, progress, table
from relay.cli.since_option import SinceOption, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from relay.cli.policy_choice import Choice
    from relay.policy.comparison import Comparison, Difference
    from relay.policy.recollection import Past
    from relay.policy.replay import Again

__all__ = ["diff", "moment", "replay"]

_DIFFERENT = 1
_TELL_EVERY = 2_000

RowsOption = Annotated[int, typer.Option("--rows", help="How many rows of each table.", min=1)]


def replay(
    *,
    since: SinceOption = "7d",
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file in the place of the one of its name, or a folder of such files. Again for more.",
            show_default=False,
        ),
    ] = None,
    rows: RowsOption = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide again what is on record, and show which decisions would be others.

    With the policy in force, or with changed files. Exit code 0: none; 1: some, or some can't be said.
    """
    from relay.cli.policy_choice import choose
    from relay.policy.replay import Again, Replay

    configuration = load_configuration(config)
    chosen = choose(configuration, policy or ())
    decide = Replay(chosen.engine).decide
    trail = configuration.settings.audit.path
    found = _compare(trail, moment(since), chosen, lambda past: Again(past.decision), decide)
    _answer(found, since, rows, as_json=as_json)


def diff(
    old: Annotated[Path, typer.Argument(help='A policy file or folder, or "current".')],
    new: Annotated[Path, typer.Argument(help="The same.")],
    *,
    since: SinceOption = "7d",
    rows: RowsOption = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what two policies decide differently on what is on record: who would break, who would pass.

    Exit code 0: nothing differs; 1: something does, or can't be said.
    """
    from relay.cli.policy_choice import choose
    from relay.policy.replay import Replay

    configuration = load_configuration(config)
    before, after = choose(configuration, [old]), choose(configuration, [new])
    found = _compare(
        configuration.settings.audit.path,
        moment(since),
        before,
        Replay(before.engine).decide,
        Replay(after.engine).decide,
    )
    _answer(found, since, rows, as_json=as_json)


def _compare(
    trail: Path,
    since: datetime,
    choice: "Choice",
    before: "Callable[[Past], Again]",
    after: "Callable[[Past], Again]",
) -> "Comparison":
    from relay.policy.comparison import Comparison

    found = Comparison()
    with progress("Reading the audit trail") as tell:
        for number, past in enumerate(_pasts(trail, since, choice), 1):
            found.add(past, before(past), after(past))
            if number % _TELL_EVERY == 0:
                tell(f"{number} decisions made again, up to {past.time}")
    return found


def _pasts(trail: Path, since: datetime, choice: "Choice") -> "Iterator[Past]":
    from functools import cache

    from relay.audit.query import records
    from relay.policy.recollection import remember

    stage_of = cache(choice.stage_of)
    first = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for record in records(trail, since=since):
        if record.get("time", "") >= first and (past := remember(record, stage_of)) is not None:
            yield past


# --- what is said -----------------------------------------------------------------------------------


def _answer(found: "Comparison", since: str, rows: int, *, as_json: bool) -> None:
    if not found.total:
        fail(f"no decision is on record since {since}")
    emit(
        _plain(found),
        as_json=as_json,
        human=lambda console: _show(console, found, since, rows),
    )
    if found.differences or found.undecided:
        raise typer.Exit(_DIFFERENT)


def _plain(found: "Comparison") -> dict[str, Any]:
    from relay.policy.comparison import Effect

    return {
        "decisions": found.total,
        "same": found.same,
        "different": found.differences.total(),
        "undecided": found.undecided.total(),
        "senders_that_break": found.senders(Effect.BREAKS),
        "senders_that_pass": found.senders(Effect.PASSES),
        "differences": [
            {**each._asdict(), "count": count, "example": found.examples[each]}
            for each, count in found.differences.most_common()
        ],
        "facts_undecided": [
            {"facts": facts, "count": count} for facts, count in found.undecided.most_common()
        ],
        "facts_unknown_to_shadow_rules_and_tags": dict(found.unknown.most_common()),
        "shadow": {
            name: {"before": found.shadow_before[name], "after": found.shadow_after[name]}
            for name in sorted({*found.shadow_before, *found.shadow_after})
        },
    }


def _show(console: "Console", found: "Comparison", since: str, rows: int) -> None:
    from relay.policy.comparison import Effect

    console.print(f"{found.total} decisions since {since}: {found.same} are the same")
    headings = {
        Effect.BREAKS: f"{found.senders(Effect.BREAKS)} sender(s) would break",
        Effect.PASSES: f"{found.senders(Effect.PASSES)} sender(s) would pass",
        Effect.OTHERWISE: "Refused otherwise",
    }
    for effect, heading in headings.items():
        cases = [each for each in found.differences.most_common() if each[0].effect is effect]
        if cases:
            console.print(f"\n{heading}, {sum(count for _, count in cases)} decision(s):")
            console.print(_table(found, cases[:rows]))
            _say_rest(console, len(cases) - rows)
    if found.undecided:
        console.print(
            f"\n{found.undecided.total()} can't be said, because of what no record holds:"
        )
        for facts, count in found.undecided.most_common(rows):
            console.print(f"{count:>8}  {', '.join(facts) or 'the listener is not there any more'}")
        _say_rest(console, len(found.undecided) - rows)
    _show_shadow(console, found)


def _table(found: "Comparison", cases: "list[tuple[Difference, int]]") -> Any:
    return table(
        ("identity", "sender", "cases", "was refused by", "would be by", "code", "example"),
        (
            (
                each.identity,
                None if each.sender is None else each.sender or "<>",
                count,
                each.before,
                each.after,
                each.code or "",
                found.examples[each],
            )
            for each, count in cases
        ),
    )


def _say_rest(console: "Console", left_out: int) -> None:
    if left_out > 0:
        console.print(f"... and {left_out} more rows (--rows, --json)")


def _show_shadow(console: "Console", found: "Comparison") -> None:
    names = sorted({*found.shadow_before, *found.shadow_after})
    if names:
        console.print("\nRules in shadow mode that would have had a say:")
        counted = ((each, found.shadow_before[each], found.shadow_after[each]) for each in names)
        console.print(table(("rule", "before", "after"), counted))
    if found.unknown:
        asked = ", ".join(f"{name} ({count})" for name, count in found.unknown.most_common())
        console.print(f"\nRules in shadow mode or tags ask what no record holds: {asked}")
