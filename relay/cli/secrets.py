"""Passwords and passphrases: from a file, the environment or a question; never from the command line."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from relay import key_files
from relay.errors import ConfigurationError
from relay.key_files import read_password_file

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
    return read_password_file(path) if path is not None else key_files.read_passphrase(os.environ)


def read_password(path: Path | None, what: str, option: str) -> bytes:
    """Return a password that is needed, asked for on a terminal.

    Raises:
        ConfigurationError: there is no file and no terminal.
    """
    if path is not None:
        return read_password_file(path)
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{what} needs a password", remedy=f"give it with {option} FILE")
    return str(
        typer.prompt(f"Password of {what}", hide_input=True, confirmation_prompt=True)
    ).encode()
