"""`gatepost pin`: who is let in, by which key. Edits the allowlist; comments in it stay."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.allowlist_file import (
    read_allowlist,
    remove_identity,
    remove_pin,
    restore_identity,
    suspend_identity,
)
from relay.cli import completion
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.enrolment import withdraw_invitations
from relay.cli.fleet import has_state, lift, restrict
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
from relay.cli.output import emit, fail, progress, table
from relay.cli.restriction_options import ReasonOption, end_of
from relay.cli.site import Site, find_site
from relay.errors import ConfigurationError, GatepostError
from relay.model import Identity, Restriction, RestrictionKind, Suspension
from relay.pinning import prepare_pinning
from relay.pki.pins import PinKind, format_pin, parse_pin, pin_forms, pin_of_pem

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add", "app", "list_pins", "remove", "restore", "show", "suspend"]

app = typer.Typer(no_args_is_help=True)

NameArgument = Annotated[
    str,
    typer.Argument(
        help="The identity's name.", show_default=False, autocompletion=completion.identities
    ),
]
PinsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pin", help="spki:sha256:... or cert:sha256:..., in hex or base64. Again for more."
    ),
]


@app.callback()
def _group() -> None:
    """Who is let in, by which key (the allowlist)."""


@app.command()
def add(
    name: NameArgument,
    *,
    pin: PinsOption = None,
    cert: Annotated[
        list[Path] | None, typer.Option(help="PEM file: certificate, request or public key.")
    ] = None,
    kind: Annotated[
        PinKind, typer.Option(help="What of --cert to pin; spki outlives a renewal with its key.")
    ] = "spki",
    names: Annotated[
        list[str] | None,
        typer.Option(help="Certificate name from a trusted CA: dns:mail.acme.example."),
    ] = None,
    senders: SendersOption = None,
    recipients: RecipientsOption = None,
    networks: NetworksOption = None,
    tier: TierOption = None,
    chain: ChainOption = None,
    not_after: NotAfterOption = "",
    contact: ContactOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key in: as a new identity, or as the next key of one that is known."""
    site = find_site(config)
    pins = [format_pin(parse_pin(text)) for text in pin or ()]
    pins += [_pin_of_file(path, kind) for path in cert or ()]
    if not pins and not names:
        remedy = "give --pin, --cert FILE or --names"
        raise ConfigurationError("nothing to know it by", remedy=remedy)
    values = identity_values(
        names=names,
        senders=senders,
        recipients=recipients,
        networks=networks,
        tier=tier,
        chain=chain,
        not_after=not_after,
        contact=contact,
    )
    with progress("editing the allowlist"):
        pinning = prepare_pinning(site.allowlist, check_name(name), values)
        pinning.add(pins)
    put_on_record(site, "pin.add", name, pins=pins)
    _answer(site.allowlist, name, as_json=as_json)


@app.command()
def remove(
    name: NameArgument,
    *,
    pin: Annotated[str, typer.Option(help="This pin only, not the identity.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an identity out of the allowlist, with its open invitations to enrol; or one of its pins."""
    site = find_site(config)
    path = site.allowlist
    withdrawn = 0
    with progress("editing the allowlist"):
        if pin:
            pins = [format_pin(parse_pin(pin))]
            remove_pin(path, name, pins[0])
        else:
            pins = list(_find(path, name).pins)
            withdrawn = withdraw_invitations(site, name)  # first: one could bring it back
            remove_identity(path, name)
    put_on_record(site, "pin.remove", name, pins=pins)
    what = pin or f"identity {name}"
    value = {"name": name, "removed": what, "allowlist": path, "withdrawn": withdrawn}

    def human(console: "Console") -> None:
        console.print(f"{path}: {what} removed")
        if withdrawn:
            console.print(f"open invitations withdrawn: {withdrawn}")

    emit(value, as_json=as_json, human=human)


@app.command()
def suspend(
    name: NameArgument,
    *,
    reason: ReasonOption,
    duration: Annotated[
        str, typer.Option("--for", help="For how long: 30m, 2h, 7d; else until `pin restore`.")
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse an identity for now, with 550 5.7.13; its live sessions end within a second, on all nodes."""
    site = find_site(config)
    now = datetime.now(UTC).replace(microsecond=0)
    until = end_of(now, duration)
    suspension = Suspension(reason, operator(), now, until)
    with progress("editing the allowlist"):
        suspend_identity(site.allowlist, name, suspension)
    problem = _tell_nodes(site, name, suspension)
    end = {"until": until.isoformat()} if until else {}
    put_on_record(site, "pin.suspend", name, reason=reason, **end)
    _answer(site.allowlist, name, as_json=as_json)
    if problem:
        fail(f"suspended here, other nodes have not heard of it: {problem}; give the command again")


def _tell_nodes(site: Site, name: str, suspension: Suspension) -> str:
    """Have all nodes of a fleet suspend an identity, too; return what went wrong, or ""."""
    if not has_state(site, elsewhere=True):
        return ""  # all workers read the allowlist
    assert suspension.at is not None
    restriction = Restriction(
        RestrictionKind.SUSPENSION,
        name,
        suspension.reason,
        suspension.by,
        suspension.at.timestamp(),
        suspension.until.timestamp() if suspension.until else None,
    )
    return restrict(site, [restriction])


@app.command()
def restore(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a suspension: that of the allowlist, and on all nodes what a rule or `pin suspend` has imposed."""
    site = find_site(config)
    is_suspended_here = _find(site.allowlist, name).suspended is not None
    if is_suspended_here:
        with progress("editing the allowlist"):
            restore_identity(site.allowlist, name)
    problem = ""
    was_lifted = False
    if has_state(site):
        try:
            was_lifted = lift(site, RestrictionKind.SUSPENSION, name)
        except GatepostError as error:
            problem = f"other suspensions may be in force: {error}; give the command again"
    if not (is_suspended_here or was_lifted or problem):
        remedy = "see who is with `gatepost pin list` and `gatepost ban list`"
        raise ConfigurationError(f"{name} is not suspended", remedy=remedy, path=site.allowlist)
    if is_suspended_here or was_lifted:
        put_on_record(site, "pin.restore", name)
    _answer(site.allowlist, name, as_json=as_json)
    if problem:
        fail(problem)


@app.command("list")
def list_pins(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all identities."""
    identities = read_allowlist(find_site(config).allowlist).identities

    def human(console: "Console") -> None:
        headings = ("name", "tier", "senders", "known by", "until", "state")
        rows = (
            (
                each.name,
                each.tier,
                "any" if each.senders is None else " ".join(each.senders),
                " ".join(_shortened(known) for known in (*each.pins, *each.names)),
                each.not_after and f"{each.not_after:%Y-%m-%d}",
                _state(each),
            )
            for each in identities
        )
        console.print(table(headings, rows))

    emit([_described(each) for each in identities], as_json=as_json, human=human)


@app.command()
def show(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show an identity, with its pins in all spellings."""
    _answer(find_site(config).allowlist, name, as_json=as_json)


def _answer(path: Path, name: str, *, as_json: bool) -> None:
    identity = _find(path, name)
    value = _described(identity)
    value["pins"] = [pin_forms(parse_pin(pin)) for pin in identity.pins]

    def human(console: "Console") -> None:
        for key, shown in value.items():
            if key != "pins" and shown:
                text = " ".join(shown) if isinstance(shown, list) else shown
                if key == "suspended":
                    text = f"{_state(identity) or 'over'}, by {shown['by']} at {shown['at']}: {shown['reason']}"
                console.print(f"{key.replace('_', ' '):<12} {text}")
        for forms in value["pins"]:
            for form in forms.values():
                console.print(f"{'pin':<12} {form}")

    emit(value, as_json=as_json, human=human)


def _described(identity: Identity) -> dict[str, Any]:
    return {
        "name": identity.name,
        "pins": list(identity.pins),
        "names": list(identity.names),
        "chain": identity.chain,
        "senders": identity.senders and list(identity.senders),
        "recipients": identity.recipients and list(identity.recipients),
        "header_from": identity.header_from,
        "networks": identity.networks and [str(each) for each in identity.networks],
        "tier": str(identity.tier),
        "not_before": identity.not_before and identity.not_before.isoformat(),
        "not_after": identity.not_after and identity.not_after.isoformat(),
        "contact": identity.contact,
        "suspended": identity.suspended and _described_suspension(identity.suspended),
    }


def _described_suspension(suspension: Suspension) -> dict[str, str | None]:
    return {
        "reason": suspension.reason,
        "by": suspension.by,
        "at": suspension.at.isoformat() if suspension.at else None,
        "until": suspension.until.isoformat() if suspension.until else None,
    }


def _state(identity: Identity) -> str:
    suspension = identity.suspended
    if suspension is None or suspension.is_over(datetime.now(UTC)):
        return ""
    until = suspension.until
    return f"suspended until {until:%Y-%m-%d %H:%M} UTC" if until else "suspended"


def _find(path: Path, name: str) -> Identity:
    identity = read_allowlist(path).find(name)
    if identity is None:
        remedy = "see who is known with `gatepost pin list`"
        raise ConfigurationError(f"no identity is called {name}", remedy=remedy, path=path)
    return identity


def _pin_of_file(path: Path, kind: PinKind) -> str:
    try:
        return format_pin(pin_of_pem(path.read_bytes(), kind=kind))
    except ConfigurationError as error:
        raise ConfigurationError(error.problem, remedy=error.remedy, path=path) from error


def _shortened(known: str) -> str:
    return f"{known[:24]}..." if known.startswith(("spki:", "cert:")) else known
