"""`gatepost policy`: which rules are in force and where each is written; are policy files sound?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import completion
from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from relay.cli.policy_view import Written

__all__ = ["app", "check", "show"]

app = typer.Typer(no_args_is_help=True)

_UNUSABLE = 2
_STAGES = ("connect", "hello", "sender", "recipient", "message")


@app.callback()
def _group() -> None:
    """The rules: what is in force, what they do with a message, what others would have done."""


@app.command()
def show(
    *,
    listener: Annotated[
        str,
        typer.Option(
            help="This listener only.", show_default=False, autocompletion=completion.listeners
        ),
    ] = "",
    identity: Annotated[
        str,
        typer.Option(
            help="With the rules of this identity.",
            show_default=False,
            autocompletion=completion.identities,
        ),
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the rules of each listener in the order they are asked, and where each is written."""
    from relay.cli.policy_choice import choose
    from relay.cli.policy_view import written_rules
    from relay.material import read_text

    choice = choose(load_configuration(config))
    chosen = [choice.listener(listener)] if listener else choice.listeners
    choice.identity(identity)  # there must be one
    stacks = {name: choice.stacks[choice.key(name, identity)] for name in chosen}
    shown = {name: _in_order(written_rules(stack, read_text)) for name, stack in stacks.items()}
    emit(
        [
            {"listener": name, "files": stacks[name], "rules": [_plain(each) for each in rules]}
            for name, rules in shown.items()
        ],
        as_json=as_json,
        human=lambda console: _show(console, shown, stacks),
    )


def _in_order(rules: "list[Written]") -> "list[Written]":
    """As they are asked: stage by stage, limits at the end."""
    return sorted(
        rules, key=lambda each: (each.kind != "rule", _stage_number(each.values.get("at", "")))
    )


def _stage_number(stage: str) -> int:
    return _STAGES.index(stage) if stage in _STAGES else len(_STAGES)


def _plain(rule: "Written") -> dict[str, Any]:
    return {"kind": rule.kind, "place": rule.place, "places": rule.places, **rule.values}


def _show(
    console: "Console", shown: "dict[str, list[Written]]", stacks: "dict[str, tuple[str, ...]]"
) -> None:
    for name, rules in shown.items():
        console.print(f"Listener {name}: {', '.join(stacks[name]) or 'no policy files'}\n")
        for rule in rules:
            console.print("\n".join(_tell(rule)))
        console.print("")


def _tell(rule: "Written") -> list[str]:
    """Return a rule in words; a key that another file has the last word on says where."""
    values = rule.values
    action = values.get("then", rule.kind)
    state = "" if rule.is_on else "off"
    if values.get("mode") == "shadow" and rule.is_on:
        state = "shadow"
    lines = [f"{values.get('at', ''):<10}{rule.name:<24}{action:<9}{state:<8}{rule.place}".rstrip()]
    for key, value in values.items():
        if key not in {"name", "at", "then"}:
            place = rule.places[key]
            elsewhere = place.rpartition(":")[0] != rule.place.rpartition(":")[0]
            text = " ".join(str(value).split())
            lines.append(f"{'':<10}{key:<10}{text}{f'   ({place})' if elsewhere else ''}")
    return lines


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Policy files, the later ones over the earlier ones.", show_default=False
        ),
    ] = None,
    *,
    alone: Annotated[
        bool, typer.Option("--alone", help="Not over the rules that come with the relay.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compile policy files: those named, or all of the configuration. Exit code 2: there are mistakes.

    A file needs no configuration: each mistake is shown with its line and a caret under the place.
    """
    try:
        count = _compile(files, alone=alone) if files else _compile_all(config)
    except ConfigurationError as error:
        if not as_json:
            raise
        mistakes = [_mistake(each) for each in (error, *error.others)]
        emit({"rules": 0, "mistakes": mistakes}, as_json=True, human=lambda _: None)
        raise typer.Exit(_UNUSABLE) from None
    emit(
        {"rules": count, "mistakes": []},
        as_json=as_json,
        human=lambda console: console.print(f"{count} rules, no mistakes"),
    )


def _compile(files: list[Path], *, alone: bool) -> int:
    from relay.material import read_text
    from relay.policy_files import DEFAULTS, compile_stacks

    stack = (*(() if alone else (DEFAULTS,)), *map(str, files))
    return len(compile_stacks([stack], read_text)[stack].rules)


def _compile_all(config: Path | None) -> int:
    from relay.cli.policy_choice import choose

    engines = choose(load_configuration(config)).engines
    return len({rule.name for engine in engines.values() for rule in engine.rules})


def _mistake(error: ConfigurationError) -> dict[str, Any]:
    return {
        "path": None if error.path is None else str(error.path),
        "line": error.line,
        "problem": error.problem,
        "remedy": error.remedy,
        "excerpt": error.excerpt,
    }
