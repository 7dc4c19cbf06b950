"""`gatepost ca`: the small CA that signs our partners' and our own certificates."""

from typing import TYPE_CHECKING, Annotated

import typer

from relay.ca_folder import create_ca
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.output import emit
from relay.cli.secrets import PassphraseFileOption, read_passphrase
from relay.cli.site import find_site
from relay.key_files import CaKeyType

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app", "init"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The CA beside the configuration (folder `ca`)."""


@app.command()
def init(
    *,
    name: Annotated[str, typer.Option(help="The CA's name, as partners will see it.")] = "",
    key_type: Annotated[CaKeyType, typer.Option(help="ec is P-256, rsa has 3072 bits.")] = "ec",
    days: Annotated[int, typer.Option(min=1, max=36500, help="How long it is valid.")] = 3650,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a CA: ca/root.pem for everybody, ca/root.key for nobody else.

    The key is encrypted if --passphrase-file or $GATEPOST_CA_PASSPHRASE gives a passphrase.
    """
    site = find_site(config)
    made = create_ca(
        site.ca.folder,
        name or f"Gatepost CA of {site.edge.host}",
        key_type=key_type,
        days=days,
        passphrase=read_passphrase(passphrase_file),
    )
    root = made.certificate()
    value = {
        "certificate": made.certificate_path,
        "key": made.key_path,
        "subject": root.subject,
        "not_after": root.not_after.isoformat(),
        "sha256": root.sha256,
    }

    def human(console: "Console") -> None:
        console.print(f"{made.certificate_path}: {root.subject}, valid until {root.not_after:%F}")
        console.print(f"{made.key_path}: its private key; keep a copy where nobody finds it")
        console.print("Next: gatepost cert issue NAME --pin --senders @partner.example")

    emit(value, as_json=as_json, human=human)
