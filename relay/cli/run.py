"""`gatepost run`: the relay, in the foreground, until a signal stops it."""

import os

import typer

from relay.cli.context import ConfigOption, find_config

__all__ = ["run"]


def run(config: ConfigOption = None) -> None:
    """Run the relay in the foreground until SIGTERM or Ctrl-C."""
    from relay.supervisor import Supervisor

    raise typer.Exit(Supervisor(find_config(config), os.environ).run())
