"""`gatepost check`: is the configuration usable, and is it fit for production?"""

from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.check_domain import domain
from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.finding import SIGNS
from relay.cli.output import emit, progress
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from relay.cli.finding import Finding
    from relay.config import Configuration

__all__ = ["app", "check"]

_OK, _FINDINGS, _UNUSABLE = 0, 1, 2


app = typer.Typer(invoke_without_command=True)
app.command()(domain)


@app.callback()
def check(
    context: typer.Context,
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Connect to every next hop and to the store, too.")
    ] = False,
    unused_days: Annotated[
        int, typer.Option("--unused", help="Name identities that have not come for so many days.")
    ] = 90,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, its files, certificates and, with --connect, the next hops and the store.

    Exit code 0: all is well; 1: there are findings; 2: the relay could not start with it.
    """
    if context.invoked_subcommand:
        return
    try:
        configuration = load_configuration(config)
        found = _find(configuration, connect=connect, unused_days=unused_days)
    except ConfigurationError as error:
        if not as_json:
            raise
        emit(
            [_mistake(each) for each in (error, *error.others)], as_json=True, human=lambda _: None
        )
        raise typer.Exit(_UNUSABLE) from None
    emit(
        [finding._asdict() for finding in found],
        as_json=as_json,
        human=lambda console: _show(console, found),
    )
    if any(finding.level != "ok" for finding in found):
        raise typer.Exit(_FINDINGS)


def _find(configuration: "Configuration", *, connect: bool, unused_days: int) -> "list[Finding]":
    from relay.blueprint import build
    from relay.cli.findings import Machine, find
    from relay.cli.policy_findings import find_unasked
    from relay.cli.posture_findings import find_posture
    from relay.cli.rights_findings import find_withheld
    from relay.cli.staple_findings import find_unstapled
    from relay.cli.state_findings import find_state, try_state
    from relay.material import load_material
    from relay.preparation import check_user

    check_user(configuration)
    material = load_material(configuration)
    blueprint = build(material)
    machine = Machine.this()
    found = find(configuration, material, machine)
    found += find_withheld(configuration)
    found += find_unstapled(configuration, material)
    found += find_posture(material, machine.now, unused_days)
    found += find_unasked(material.policies)
    found += find_state(configuration)
    if connect:
        from relay.cli.next_hops import try_next_hops

        with progress("Asking the store"):
            found += try_state(configuration)
        with progress("Connecting to the next hops"):
            found += try_next_hops(blueprint.routes.routes, configuration.settings.hostname)
    return found


def _mistake(error: ConfigurationError) -> dict[str, str]:
    place = "" if error.path is None else str(error.path)
    if error.line is not None:
        place += f":{error.line}"
    return {"level": "error", "place": place, "problem": error.problem, "remedy": error.remedy}


def _show(console: "Console", found: "list[Finding]") -> None:
    for finding in found:
        place = f"{finding.place}: " if finding.place else ""
        console.print(f"{SIGNS[finding.level]}{place}{finding.problem}")
        if finding.remedy:
            console.print(f"{'':<8}→ {finding.remedy}")
    count = sum(finding.level != "ok" for finding in found)
    console.print(f"\n{count} finding(s)" if count else "\nAll is well.")
