"""`gatepost ca`: the small CA that signs our partners' and our own certificates."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.ca_folder import create_ca
from relay.ca_lists import CaLists
from relay.cli.certificate_options import KeyTypeOption
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.output import emit
from relay.cli.secrets import PassphraseFileOption, read_passphrase
from relay.cli.site import find_site
from relay.key_files import replace_file

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app", "crl", "init", "ocsp"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The CA beside the configuration (folder `ca`)."""


@app.command()
def init(
    *,
    name: Annotated[str, typer.Option(help="The CA's name, as partners will see it.")] = "",
    key_type: KeyTypeOption = "ec",
    days: Annotated[int, typer.Option(min=1, max=36500, help="How long it is valid.")] = 3650,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a CA: a root (ca/root.pem for everybody), and the CA below it that issues.

    Their keys are encrypted if --passphrase-file or $GATEPOST_CA_PASSPHRASE gives a passphrase. The root's may be kept
    elsewhere: it is needed again only to renew or revoke the issuing CA.
    """
    site = find_site(config)
    made = create_ca(
        site.ca.folder,
        name or f"Gatepost CA of {site.edge.host}",
        key_type=key_type,
        days=days,
        passphrase=read_passphrase(passphrase_file),
        url=site.ca_url,
    )
    root = made.certificate()
    value = {
        "certificate": made.certificate_path,
        "key": made.key_path,
        "issuing_certificate": made.issuing_path,
        "issuing_key": made.issuing_key_path,
        "subject": root.subject,
        "not_after": root.not_after.isoformat(),
        "sha256": root.sha256,
    }

    def human(console: "Console") -> None:
        console.print(f"{made.certificate_path}: {root.subject}, valid until {root.not_after:%F}")
        console.print(f"{made.key_path}: its private key; better kept off this machine")
        console.print(f"{made.issuing_path}, {made.issuing_key_path}: the CA that issues")
        console.print("Next: gatepost cert issue NAME --pin --senders @partner.example")

    emit(value, as_json=as_json, human=human)


@app.command()
def crl(
    *,
    days: Annotated[int, typer.Option(min=1, max=365, help="Until its nextUpdate.")] = 7,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign the revocation lists anew: ca/crl.der, the root's ca/root-crl.der, and ca/crl.pem.

    The root's is left as it is while ca/root.key is kept elsewhere.
    """
    site = find_site(config)
    passphrase = read_passphrase(passphrase_file)
    lists = CaLists(site.ca)
    issuer = site.ca.issuer(passphrase)
    made = lists.publish(issuer, valid_for=timedelta(days=days), passphrase=passphrase)
    value = {
        "crl": lists.path,
        "pem": lists.pem_path,
        "entries": len(made),
        "next_update": made.next_update_utc and made.next_update_utc.isoformat(),
    }

    def human(console: "Console") -> None:
        console.print(f"{lists.path}: {len(made)} revoked, until {made.next_update_utc:%F %T} UTC")

    emit(value, as_json=as_json, human=human)


@app.command()
def ocsp(
    *,
    request: Annotated[Path, typer.Option("--reqin", help="File with an OCSP request (DER).")],
    response: Annotated[Path, typer.Option("--respout", help="File for the answer (DER).")],
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer one OCSP request, from file to file, as `openssl ocsp` has these options."""
    ca = find_site(config).ca
    issuer = ca.issuer(read_passphrase(passphrase_file))
    replace_file(response, CaLists(ca).answer(request.read_bytes(), issuer))
