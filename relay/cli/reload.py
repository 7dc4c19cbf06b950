"""`gatepost reload`: have the running relay read its configuration again."""

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, fail, progress

__all__ = ["reload"]


def reload(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Reload configuration, certificates and allowlist; connections go on.

    A configuration with a mistake is not taken: the old one stays in force, and the mistake is
    shown (exit code 2).
    """
    from relay.cli.control import ask

    state_dir = load_configuration(config).settings.state_dir
    with progress("waiting for the new workers"):
        answer = ask(state_dir, "reload")
    if not answer.get("ok"):
        if as_json:
            emit(answer, as_json=True, human=lambda _: None)
            raise typer.Exit(2)
        fail(str(answer.get("error", "the relay did not say why")), 2)
    generation = answer.get("generation")
    emit(
        answer,
        as_json=as_json,
        human=lambda console: console.print(f"reloaded, configuration {generation} is in force"),
    )
