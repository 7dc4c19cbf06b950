"""`gatepost status`: is the relay running, and what has it done?"""

from typing import TYPE_CHECKING, Any

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, table
from relay.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["status"]

_COLUMNS = (
    "pid", "generation", "sessions", "connections", "delivered", "deferred", "rejected", "refused",
)  # fmt: skip


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the running relay: workers, counters, listeners. Exit code 0 if it runs, 1 if not."""
    from relay.cli.control import ask

    settings = load_configuration(config).settings
    try:
        answer = ask(settings.state_dir, "status", timeout=5)
    except Unavailable as error:
        problem = str(error)
        emit(
            {"ok": False, "error": problem},
            as_json=as_json,
            human=lambda console: console.print(problem),
        )
        raise typer.Exit(1) from None
    emit(answer, as_json=as_json, human=lambda console: _show(console, answer))


def _show(console: "Console", answer: dict[str, Any]) -> None:
    uptime = _duration(answer["uptime_seconds"])
    console.print(
        f"{answer['hostname']}: running for {uptime}, process {answer['pid']}, "
        f"configuration {answer['generation']}"
    )
    console.print(
        table(
            ("listener", "address", "TLS", "client certificate"),
            [
                (each["name"], each["address"], each["tls"], each["client_certificate"])
                for each in answer["listeners"]
            ],
        )
    )
    rows = [[worker[column] for column in _COLUMNS] for worker in answer["workers"]]
    console.print(table(_COLUMNS, rows))


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "m"), (second, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number}{unit}" for number, unit in parts[:2])
