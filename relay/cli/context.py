"""What every command takes: which configuration, and whether to answer in JSON.

It finds the file and has `relay.config` read it; what the settings mean is the commands' business.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from relay.config import Configuration

__all__ = ["ConfigOption", "JsonOption", "find_config", "load_configuration"]

FILE_NAME = "gatepost.toml"
SYSTEM_FOLDER = Path("/etc/gatepost")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="GATEPOST_CONFIG",
        show_default=False,
        help=f"The configuration file; else ./{FILE_NAME}, then {SYSTEM_FOLDER / FILE_NAME}.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def find_config(given: Path | None) -> Path:
    """Return the configuration file to use: the given one, or the first that is there.

    Raises:
        ConfigurationError: there is none.
    """
    if given is not None:
        return given
    for candidate in (Path(FILE_NAME), SYSTEM_FOLDER / FILE_NAME):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(
        f"no configuration: neither ./{FILE_NAME} nor {SYSTEM_FOLDER / FILE_NAME} is there",
        remedy="give one with --config, or make one with `gatepost init`",
    )


def load_configuration(given: Path | None) -> "Configuration":
    """Read the configuration that `--config` and the environment name.

    Raises:
        ConfigurationError: there is none, or it has mistakes.
    """
    # The command line has to answer `--help` at once; pydantic alone takes 0.1 s to import.
    from relay.config import load

    return load(find_config(given), os.environ)
