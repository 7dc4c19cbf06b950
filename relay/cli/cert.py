"""`gatepost cert issue` and `sign`: certificates for partners and for ourselves, in one step with their pins."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.ca_folder import CaFolder, encode_chain, issue_to_files, valid_from_now
from relay.cli.certificate_options import (
    DnsOption,
    KeyTypeOption,
    NameArgument,
    UriOption,
    names_of,
)
from relay.cli.certificate_view import describe, print_description
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
from relay.cli.operator_acts import put_on_record
from relay.cli.output import emit, progress
from relay.cli.partner_guide import exim_lines, postfix_lines
from relay.cli.pem import parse_at
from relay.cli.pkcs12 import NewP12, P12PasswordOption
from relay.cli.secrets import PassphraseFileOption, read_passphrase
from relay.cli.site import Site, find_site
from relay.errors import ConfigurationError
from relay.key_files import load_private_key, refuse_existing, write_new
from relay.pinning import Pinning, prepare_pinning
from relay.pki.certificate import Certificate, parse_pem_chain
from relay.pki.issuing import (
    Publication,
    Subject,
    read_request,
)
from relay.pki.pins import pin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = ["app", "issue", "sign"]

app = typer.Typer(no_args_is_help=True)

ServerOption = Annotated[
    bool, typer.Option("--server", help="For TLS servers too (an MTA, this relay).")
]
DaysOption = Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")]
HoursOption = Annotated[
    int,
    typer.Option(
        min=0, max=720, show_default=False, help="The same in hours, instead of revoking."
    ),
]
CrlUrlOption = Annotated[
    str, typer.Option(help="Where its revocation list is; else as [ca] url.", show_default=False)
]
OcspUrlOption = Annotated[
    str, typer.Option(help="Where its OCSP responder is; else as [ca] url.", show_default=False)
]
PinOption = Annotated[bool, typer.Option("--pin", help="Put its pin into the allowlist at once.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Folder for the files; else clients, or tls with --server.")
]


@app.callback()
def _group() -> None:
    """Certificates of our own CA."""


@app.command()
def issue(
    name: NameArgument,
    *,
    dns: DnsOption = None,
    uri: UriOption = None,
    server: ServerOption = False,
    days: DaysOption = 90,
    hours: HoursOption = 0,
    crl_url: CrlUrlOption = "",
    ocsp_url: OcspUrlOption = "",
    key_type: KeyTypeOption = "ec",
    pin: PinOption = False,
    senders: SendersOption = None,
    recipients: RecipientsOption = None,
    networks: NetworksOption = None,
    tier: TierOption = None,
    chain: ChainOption = None,
    not_after: NotAfterOption = "",
    contact: ContactOption = "",
    p12: Annotated[bool, typer.Option("--p12", help="Write NAME.p12 too: Windows, Java.")] = False,
    p12_password_file: P12PasswordOption = None,
    out: OutOption = None,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and its certificate; with --pin, let it in; say what the partner configures.

    Writes NAME.pem and NAME.key (mode 0600). No key is ever printed, no file written over.
    """
    site = find_site(config)
    subject = _subject(check_name(name), dns, uri, server=server)
    values = identity_values(
        senders=senders,
        recipients=recipients,
        networks=networks,
        tier=tier,
        chain=chain,
        not_after=not_after,
        contact=contact,
    )
    pinning = _pinning(site, name, values, wanted=pin)
    folder = _folder(site, out, server=server)
    packed = NewP12(folder / f"{name}.p12", p12_password_file) if p12 else None
    with progress(f"making a key and a certificate for {name}"):
        files = issue_to_files(
            _publishing(site.ca, crl_url, ocsp_url),
            subject,
            folder,
            key_type=key_type,
            days=hours / 24 or days,
            passphrase=read_passphrase(passphrase_file),
        )
        if packed:
            packed.write(name, load_private_key(files.key_path), files.certificate, site)
        if pinning:
            _let_in(site, pinning, files.certificate)
    written = {"chain": files.chain_path, "key_file": files.key_path}
    if packed:
        written["p12"] = packed.path
    _answer(site, name, files.certificate, written, is_pinned=pin, as_json=as_json)


@app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="PEM file with a signing request (CSR).")],
    *,
    name: Annotated[str, typer.Option(help="Short name; else the request's CN.")] = "",
    dns: DnsOption = None,
    uri: UriOption = None,
    names_from_request: Annotated[
        bool, typer.Option("--names-from-request", help="Grant all names that it asks for.")
    ] = False,
    server: ServerOption = False,
    days: DaysOption = 90,
    hours: HoursOption = 0,
    crl_url: CrlUrlOption = "",
    ocsp_url: OcspUrlOption = "",
    pin: PinOption = False,
    senders: SendersOption = None,
    recipients: RecipientsOption = None,
    networks: NetworksOption = None,
    tier: TierOption = None,
    chain: ChainOption = None,
    not_after: NotAfterOption = "",
    contact: ContactOption = "",
    out: OutOption = None,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a request, so that the key never leaves its owner. The names in it are ours to give."""
    site = find_site(config)
    public_key, wished = parse_at(request, read_request)
    name = check_name(name or wished.common_name)
    subject = _subject(name, dns, uri, server=server)
    if names_from_request:
        subject = subject._replace(names=tuple(dict.fromkeys((*subject.names, *wished.names))))
    values = identity_values(
        senders=senders,
        recipients=recipients,
        networks=networks,
        tier=tier,
        chain=chain,
        not_after=not_after,
        contact=contact,
    )
    pinning = _pinning(site, name, values, wanted=pin)
    path = _folder(site, out, server=server) / f"{name}.pem"
    refuse_existing(path)
    passphrase = read_passphrase(passphrase_file)
    ca = _publishing(site.ca, crl_url, ocsp_url)
    issued = ca.issue(subject, public_key, valid_from_now(hours / 24 or days), passphrase)
    write_new(path, encode_chain(ca.chain(issued)))
    if pinning:
        _let_in(site, pinning, issued)
    _answer(site, name, issued, {"chain": path}, is_pinned=pin, as_json=as_json)


def _subject(name: str, dns: list[str] | None, uri: list[str] | None, *, server: bool) -> Subject:
    names = names_of(dns, uri)
    if server and not names:
        names = names_of([name], None)  # no client looks at the CN of a server (RFC 9525 2)
    return Subject(name, names, "server" if server else "client")


def _pinning(site: Site, name: str, values: dict[str, Any], *, wanted: bool) -> Pinning | None:
    if wanted:
        return prepare_pinning(site.allowlist, name, values)
    if values:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in values)
        raise ConfigurationError(f"{options} without --pin", remedy="add --pin, or leave it out")
    return None


def _let_in(site: Site, pinning: Pinning, certificate: Certificate) -> None:
    pins = [str(pin_of(certificate))]
    pinning.add(pins)
    put_on_record(site, "pin.add", pinning.name, pins=pins)


def _folder(site: Site, out: Path | None, *, server: bool) -> Path:
    return out or site.folder / ("tls" if server else "clients")


def _is_ours(site: Site) -> bool:
    """Whether this relay shows a certificate of our own CA; so it is as long as none is there."""
    path = site.server_certificate
    if path is None or not path.is_file():
        return True
    chain = parse_pem_chain(path.read_bytes())
    return bool(chain) and chain[-1].issuer == site.ca.certificate().subject


def _publishing(ca: CaFolder, crl_url: str, ocsp_url: str) -> CaFolder:
    """The same CA, with other addresses for its list and responder where they are given."""
    crl, ocsp = ca.published
    return CaFolder(ca.folder, Publication(crl_url or crl, ocsp_url or ocsp))


def _answer(
    site: Site,
    name: str,
    issued: Certificate,
    written: "Mapping[str, Path]",
    *,
    is_pinned: bool,
    as_json: bool,
) -> None:
    """Say what was made, and what its holder configures."""
    root = site.ca.certificate_path
    has_own_ca = _is_ours(site)
    postfix = postfix_lines(site.edge, name, has_own_ca=has_own_ca)
    exim = exim_lines(site.edge, name, has_own_ca=has_own_ca)
    value = {
        **describe(issued),
        **written,
        "ca": root,
        "pinned_in": site.allowlist if is_pinned else None,
        "partner": {"postfix": postfix, "exim": exim},
    }

    def human(console: "Console") -> None:
        for what, path in written.items():
            console.print(f"{what.replace('_', ' '):<12} {path}")
        print_description(console, describe(issued))
        if is_pinned:
            console.print(f"pinned in    {site.allowlist}")
        else:
            pin = pin_of(issued)
            console.print(f"not pinned   let it in with: gatepost pin add {name} --pin {pin}")
        if "server" not in value["purposes"]:
            console.print(f"\nGive the partner these files and {root} (as gatepost-root.pem):\n")
            console.print(f"{postfix}\n\n{exim}")

    emit(value, as_json=as_json, human=human)
