"""`gatepost init`: a folder with all that `gatepost run` needs."""

import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.context import JsonOption
from relay.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console

    from relay.cli.new_site import NewSite

__all__ = ["init"]


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder; made if it is not there.")
    ] = Path(),
    hostname: Annotated[
        str, typer.Option(help="This machine's name in the DNS; else what the system says.")
    ] = "",
    listen: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1:2525",
    upstream: Annotated[
        str, typer.Option(help="The next hop of all mail, HOST or HOST:PORT.")
    ] = "127.0.0.1:2526",
    as_json: JsonOption = False,
) -> None:
    """Make a configuration, a CA, a server certificate, and a first client on the allowlist.

    Nothing that is there is written over. The relay runs with it as it is, on loopback.
    """
    from relay.cli.new_site import create_site

    site = create_site(folder, hostname or _own_name(), listen=listen, upstream=upstream)
    commands = _next_commands(site)
    value = {
        "folder": str(site.folder),
        "files": {str(path): what for path, what in site.files.items()},
        "next": commands,
    }
    emit(value, as_json=as_json, human=lambda console: _show(console, site, commands))


def _own_name() -> str:
    """What this machine calls itself; no DNS is asked, which could take long."""
    return socket.gethostname().removesuffix(".") or "localhost"


def _next_commands(site: "NewSite") -> list[str]:
    def quoted(path: Path) -> str:
        return shlex.quote(str(path))

    config = "" if site.folder == Path() else f" --config {quoted(site.configuration)}"
    certificate = f"--cert {quoted(site.client.chain_path)} --key {quoted(site.client.key_path)}"
    addresses = "--from me@example.org --to you@example.org"
    return [
        f"gatepost check{config}",
        f"gatepost run{config}",
        f"gatepost send{config} {certificate} {addresses}",
    ]


def _show(console: "Console", site: "NewSite", commands: list[str]) -> None:
    width = max(len(str(path)) for path in site.files)
    console.print("Made:")
    for path, what in site.files.items():
        console.print(f"  {path!s:<{width}}  {what}")
    reasons = (
        "what to change for production",
        "the relay, until Ctrl-C",
        "a message of the first client (451 until the next hop answers)",
    )
    console.print("\nNext:")
    for command, reason in zip(commands, reasons, strict=True):
        console.print(f"  {command}\n      {reason}")
