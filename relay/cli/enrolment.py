"""`gatepost cert invite`, `invitations` and `enroll`: a certificate over the wire, by a token used once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.allowlist_file import read_allowlist
from relay.cli.certificate_options import (
    DnsOption,
    KeyTypeOption,
    NameArgument,
    UriOption,
    names_of,
)
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.identity_options import (
    ChainOption,
    ContactOption,
    NetworksOption,
    NotAfterOption,
    RecipientsOption,
    SendersOption,
    TierOption,
    check_name,
    identity_values,
)
from relay.cli.operator_acts import operator, put_on_record
from relay.cli.output import emit, table
from relay.cli.site import Site, find_site
from relay.errors import ConfigurationError
from relay.invitations import Invitations
from relay.key_files import read_password_file
from relay.pinning import prepare_pinning
from relay.pki.issuing import Subject

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["enroll", "invitations", "invite", "withdraw_invitations"]


def invite(
    name: NameArgument,
    *,
    hours: Annotated[
        int, typer.Option(min=1, max=24 * 90, help="How long the token can be used.")
    ] = 72,
    days: Annotated[
        int,
        typer.Option(min=0, max=3650, help="How long the certificate holds; 0: [est] lifetime."),
    ] = 0,
    dns: DnsOption = None,
    uri: UriOption = None,
    senders: SendersOption = None,
    recipients: RecipientsOption = None,
    networks: NetworksOption = None,
    tier: TierOption = None,
    chain: ChainOption = None,
    not_after: NotAfterOption = "",
    contact: ContactOption = "",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="End the open invitations of this name instead.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token with which NAME gets its first certificate by itself, once; its pin follows.

    What the certificate and the identity will be is fixed here. The token is shown now and never again.
    """
    site = find_site(config)
    if withdraw:
        _withdraw(site, name, as_json=as_json)
        return
    site.ca.certificate()
    values = identity_values(
        senders=senders,
        recipients=recipients,
        networks=networks,
        tier=tier,
        chain=chain,
        not_after=not_after,
        contact=contact,
    )
    pinning = prepare_pinning(site.allowlist, check_name(name), values)
    valid_for = timedelta(hours=hours)
    token = Invitations(site.ca.folder).invite(
        Subject(name, names_of(dns, uri)),
        lifetime=timedelta(days=days) or site.est_lifetime,
        valid_for=valid_for,
        identity=None if pinning.is_known else values,
        by=operator(),
    )
    until = datetime.now(UTC) + valid_for
    put_on_record(site, "cert.invite", name, until=until.isoformat(timespec="seconds"))
    _show(site, name, token, until, as_json=as_json)


def invitations(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the invitations that can still be used."""
    site = find_site(config)
    found = [
        {
            "name": each.subject.common_name,
            "until": each.until.isoformat(),
            "names": each.subject.names,
            "days": each.lifetime / timedelta(days=1),
            "by": each.by,
        }
        for each in Invitations(site.ca.folder).open(datetime.now(UTC))
    ]

    def human(console: "Console") -> None:
        headings = ("name", "until", "names", "days", "by")
        console.print(table(headings, [[each[key] for key in headings] for each in found]))

    emit(found, as_json=as_json, human=human)


def enroll(
    name: Annotated[str, typer.Argument(help="The name you were invited by.", show_default=False)],
    *,
    url: Annotated[str, typer.Option(help="The server: https://edge.example.org:8443.")],
    token: Annotated[
        str, typer.Option(envvar="GATEPOST_EST_TOKEN", show_default=False, help="The token.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File with it: other users see a command line.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA that the server has.")] = None,
    root_sha256: Annotated[
        str,
        typer.Option(help="Or the SHA-256 of its root, as you were told.", show_default=False),
    ] = "",
    key_type: KeyTypeOption = "ec",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Get a first certificate from a relay that has invited you: NAME.pem, NAME.key and its root.

    Needs no configuration. If the answer was lost, the same command asks for it again.
    """
    from relay.est_client import EstClient, Trusted
    from relay.est_files import enroll_to_files

    secret = read_password_file(token_file).decode() if token_file else token
    if not secret:
        remedy = "give --token-file FILE, or set GATEPOST_EST_TOKEN"
        raise ConfigurationError("there is no token", remedy=remedy)
    if ca and root_sha256:
        raise ConfigurationError("--ca and --root-sha256", remedy="give one of the two")
    client = EstClient(url, Trusted(ca, root_sha256))
    made = enroll_to_files(client, check_name(name), secret, out, key_type)
    value = {
        "chain": made.chain_path,
        "key_file": made.key_path,
        "ca": made.root_path,
        "serial": made.certificate.serial,
        "not_after": made.certificate.not_after.isoformat(),
    }

    def human(console: "Console") -> None:
        console.print(f"{made.chain_path}: valid until {made.certificate.not_after:%F %T} UTC")
        console.print(f"{made.key_path}: its key, which nobody else has")
        console.print(f"{made.root_path}: the relay's root, to know it by")
        console.print(f"Next time: gatepost cert renew {made.chain_path} --est {url}")

    emit(value, as_json=as_json, human=human)


def withdraw_invitations(site: Site, name: str) -> int:
    """End the open invitations of a name, on record; return how many there were."""
    count = Invitations(site.ca.folder).withdraw(name, operator())
    if count:
        put_on_record(site, "cert.invite.withdraw", name)
    return count


def _withdraw(site: Site, name: str, *, as_json: bool) -> None:
    count = withdraw_invitations(site, name)
    if not count:
        remedy = "see `gatepost cert invitations`"
        raise ConfigurationError(f"no open invitation is for {name!r}", remedy=remedy)
    emit(
        {"withdrawn": count},
        as_json=as_json,
        human=lambda console: console.print(f"withdrawn    {name}"),
    )


def _show(site: Site, name: str, token: str, until: datetime, *, as_json: bool) -> None:
    root = site.ca.certificate().sha256
    url = site.est_url or "https://EDGE:8443"
    value: dict[str, Any] = {
        "name": name,
        "token": token,
        "until": until.isoformat(timespec="seconds"),
        "url": site.est_url,
        "root_sha256": root,
        "creates_identity": read_allowlist(site.allowlist).find(name) is None,
    }

    def human(console: "Console") -> None:
        console.print(f"invited      {name}, once, until {until:%F %H:%M} UTC")
        console.print(f"token        {token}")
        console.print("\nTell the partner, the token by another way than the rest if you can:\n")
        console.print(f"GATEPOST_EST_TOKEN=... gatepost cert enroll {name} \\")
        console.print(f"  --url {url} --root-sha256 {root}")
        if not site.est_url:
            console.print("\n[est] address is not set: nobody can enrol until it is")

    emit(value, as_json=as_json, human=human)
