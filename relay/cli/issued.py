"""`gatepost cert list`, `show` and `export`: what has been issued, and what a PEM file holds."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from relay.allowlist_file import read_allowlist
from relay.ca_folder import encode_chain
from relay.cli.certificate_view import describe, describe_pem, print_description
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.output import emit, table
from relay.cli.pem import parse_at
from relay.cli.pkcs12 import NewP12, P12PasswordOption
from relay.cli.site import Site, find_site
from relay.errors import ConfigurationError
from relay.key_files import load_private_key, write_new
from relay.pki.certificate import Certificate

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["export", "list_issued", "show"]


def list_issued(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what our CA has signed."""
    site = find_site(config)
    allowlist = read_allowlist(site.allowlist)
    now = datetime.now(UTC)
    revoked = {each["serial"]: each["at"] for each in site.ca.records.revoked()}
    records = [
        {
            "name": record["name"],
            "purpose": record["purpose"],
            "revoked_at": revoked.get(record["serial"]),
            "serial": record["serial"],
            "not_after": record["not_after"],
            "days_left": (datetime.fromisoformat(record["not_after"]) - now).days,
            "names": record["names"],
            "spki": record["spki"],
            "identity": getattr(allowlist.with_pin(record["spki"]), "name", None),
        }
        for record in site.ca.issued()
    ]

    def human(console: "Console") -> None:
        headings = ("name", "for", "pinned as", "valid until", "days left", "revoked", "serial")
        keys = ("name", "purpose", "identity", "not_after", "days_left", "revoked_at", "serial")
        console.print(table(headings, [[record[key] for key in keys] for record in records]))

    emit(records, as_json=as_json, human=human)


def show(
    what: Annotated[str, typer.Argument(help="A PEM file, or the name it was issued under.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a certificate, request or public key, with its pins in all spellings."""
    site = find_site(config)
    path = Path(what)
    if path.is_file():
        value = parse_at(path, describe_pem)
    else:
        value = describe(_issued(site, what))
    allowlist = read_allowlist(site.allowlist)
    pins = [forms["hex"] for forms in value["pins"].values()]
    found = next((each for each in map(allowlist.with_pin, pins) if each), None)
    value["pinned_as"] = found.name if found else None
    emit(value, as_json=as_json, human=lambda console: print_description(console, value))


def export(
    name: Annotated[str, typer.Argument(help="The name it was issued under.")],
    *,
    kind: Annotated[
        Literal["pem", "p12"],
        typer.Option("--format", help="p12: with the key, for Windows, Java."),
    ] = "pem",
    out: Annotated[
        Path | None, typer.Option(help="The new file; else, for pem, the output.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The private key for p12; else clients/NAME.key.")
    ] = None,
    p12_password_file: P12PasswordOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a certificate again: as PEM, or with its key as PKCS#12."""
    site = find_site(config)
    issued = _issued(site, name)
    if kind == "pem":
        if out is None:
            typer.echo(encode_chain(site.ca.chain(issued)).decode(), nl=False)
        else:
            write_new(out, encode_chain(site.ca.chain(issued)))
        return
    key_path = key or site.folder / "clients" / f"{name}.key"
    packed = NewP12(out or Path(f"{name}.p12"), p12_password_file)
    private_key = load_private_key(key_path)
    if private_key.public_key() != issued.public_key:
        remedy = "give the key that belongs to it with --key"
        raise ConfigurationError(f"not the key of {name}", remedy=remedy, path=key_path)
    packed.write(name, private_key, issued, site)
    typer.echo(packed.path)


def _issued(site: Site, name: str) -> Certificate:
    found = site.ca.find(name)
    if found is None:
        remedy = "give a PEM file, or a name that `gatepost cert list` shows"
        raise ConfigurationError(f"no certificate was issued as {name!r}", remedy=remedy)
    return found
