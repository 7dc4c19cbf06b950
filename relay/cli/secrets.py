"""Passwords and passphrases: from a file, the environment or a question; never from the command line."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from relay.errors import ConfigurationError

__all__ = ["PassphraseFileOption", "read_passphrase", "read_password"]

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="GATEPOST_CA_PASSPHRASE_FILE",
        show_default=False,
        help="File with the passphrase of the CA's key; else $GATEPOST_CA_PASSPHRASE, if set.",
    ),
]


def read_passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase of the CA's key, None if it has none."""
    if path is not None:
        return _first_line(path)
    return os.environ.get("GATEPOST_CA_PASSPHRASE", "").encode() or None


def read_password(path: Path | None, what: str, option: str) -> bytes:
    """Return a password that is needed, asked for on a terminal.

    Raises:
        ConfigurationError: there is no file and no terminal.
    """
    if path is not None:
        return _first_line(path)
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{what} needs a password", remedy=f"give it with {option} FILE")
    return str(
        typer.prompt(f"Password of {what}", hide_input=True, confirmation_prompt=True)
    ).encode()


def _first_line(path: Path) -> bytes:
    line = path.read_bytes().partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigurationError("no password in its first line", remedy="put one there", path=path)
    return line
