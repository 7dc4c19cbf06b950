"""The command `gatepost`: all its subcommands, and how mistakes end.

What a command does stands in its own file; heavy imports happen inside commands, so that
`gatepost --help` and shell completion answer at once.
"""

import importlib
import sys
from typing import Annotated

import typer

from relay import __version__
from relay.errors import ConfigurationError, GatepostError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gatepost",
    help="Gatepost, an authenticating SMTP relay: verified identity, or nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatepost {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    pass


def _register() -> None:
    groups = {"ca", "cert", "pin"}
    for name in (
        "init", "run", "demo", "check", "ca", "cert", "pin", "send", "explain", "status", "reload",
    ):  # fmt: skip
        try:
            module = importlib.import_module(f"relay.cli.{name}")
        except ModuleNotFoundError:
            continue
        if name in groups:
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))


_register()


def main() -> None:
    """Run the command line; the operator's mistakes are lines on standard error, no tracebacks."""
    try:
        app(prog_name="gatepost")
    except ConfigurationError as error:
        for mistake in (error, *error.others):
            typer.echo(str(mistake), err=True)
        sys.exit(2)
    except GatepostError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"{error.filename}: {error.strerror}; check the path and its mode", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
