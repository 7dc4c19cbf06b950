"""`gatepost dkim`: keys that sign mail are made, published by the operator, put in use, and retired.

A key is `next` until its record is found in the DNS, then `active`; its successor makes it `retired`. No
private key is ever shown.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.operator_acts import put_on_record
from relay.cli.output import emit, fail, progress, table
from relay.cli.site import find_site
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from relay.config import Configuration
    from relay.mailauth.key_record import PublicKey
    from relay.mailauth.signing import SigningKey
    from relay.mailauth.verification import Refusal
    from relay.settings.mailauth import DkimKey

__all__ = ["app", "list_keys", "new", "retire", "rotate"]

app = typer.Typer(no_args_is_help=True)

_STRING_CHARACTERS = 255  # RFC 1035 3.3: of each string of a TXT record

DomainArgument = Annotated[str, typer.Argument(help="The domain that signs.", show_default=False)]
ForceOption = Annotated[bool, typer.Option("--force", help="Without asking the DNS first.")]


class _Entry(NamedTuple):
    """One `[[dkim.key]]`: the file it stands in, its key, and what the DNS says ("" if not asked)."""

    path: Path
    settings: "DkimKey"
    key: "SigningKey"
    published: str = ""

    @property
    def record_name(self) -> str:
        return f"{self.key.selector}._domainkey.{self.key.domain}"

    @property
    def record(self) -> str:
        from relay.mailauth.key_record import format_key_record

        return format_key_record(self.key.key.public_key())

    @property
    def kind(self) -> Literal["rsa", "ed25519"]:
        return "rsa" if self.key.algorithm == "rsa-sha256" else "ed25519"

    def as_json(self) -> dict[str, object]:
        return {
            "domain": self.key.domain,
            "selector": self.key.selector,
            "kind": self.kind,
            "use": self.settings.use,
            "state": self.settings.state,
            "key": self.settings.key,
            "record_name": self.record_name,
            "record": self.record,
            **({"published": self.published} if self.published else {}),
        }


@app.callback()
def _group() -> None:
    """Keys that sign mail (DKIM, ARC)."""


@app.command()
def new(
    domain: DomainArgument,
    *,
    kind: Annotated[
        Literal["rsa", "ed25519", "both"],
        typer.Option(
            help="Not all the world reads ed25519; both: each message gets two signatures."
        ),
    ] = "rsa",
    use: Annotated[
        list[str] | None,
        typer.Option(help="What it signs: author, identity or seal. Again for more; else author."),
    ] = None,
    selector: Annotated[str, typer.Option(help="The key's name; else made of the date.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and say which DNS record to publish. It signs once `rotate` has found it there."""
    kinds: list[Literal["rsa", "ed25519"]] = ["rsa", "ed25519"] if kind == "both" else [kind]
    if selector and len(kinds) > 1:
        raise ConfigurationError("two keys need two selectors", remedy="make one after the other")
    uses = tuple(use or ("author",))
    configuration = load_configuration(config)
    entries = [_make(configuration, domain, each, uses, selector) for each in kinds]
    _tell_of_new(config, entries, as_json=as_json)


@app.command()
def rotate(
    domain: DomainArgument,
    *,
    force: ForceOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the successors of a domain's keys; called again once they are published, put them in use."""
    configuration = load_configuration(config)
    known = _entries(configuration, domain)
    if not known:
        remedy = f"make one with `gatepost dkim new {domain}`"
        raise ConfigurationError(f"there is no key of {domain}", remedy=remedy)
    if any(each.settings.state == "next" for each in known):
        _put_in_use(config, configuration, known, force=force, as_json=as_json)
        return
    active = [each for each in known if each.settings.state == "active"]
    entries = [_make(configuration, domain, each.kind, each.settings.use) for each in active]
    _tell_of_new(config, entries, as_json=as_json)


@app.command()
def retire(
    domain: DomainArgument, *, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Remove the keys of a domain that sign no more, a week after the last signature, say."""
    from relay.dkim_file import remove_key

    known = _entries(load_configuration(config), domain)
    gone = [each for each in known if each.settings.state == "retired"]
    for each in gone:
        remove_key(each.path, each.settings)
        put_on_record(find_site(config), "dkim.retire", each.record_name)

    def show(console: "Console") -> None:
        for each in gone:
            console.print(f"{each.key.selector}: removed; take {each.record_name} out of the DNS")
        if not gone:
            console.print(f"no key of {domain} is retired")

    emit([each.as_json() for each in gone], as_json=as_json, human=show)


@app.command("list")
def list_keys(
    *,
    dns: Annotated[bool, typer.Option("--dns", help="Ask the DNS what is published.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all keys, and with --dns whether the world can verify what they sign."""
    configuration = load_configuration(config)
    known = _entries(configuration)
    if dns:
        known = _with_publication(configuration, known)
    headings = ("domain", "selector", "kind", "use", "state", "record", *(["DNS"] if dns else []))
    rows = [
        (
            each.key.domain,
            each.key.selector,
            each.kind,
            " ".join(each.settings.use),
            each.settings.state,
            each.record_name,
            each.published,
        )[: len(headings)]
        for each in known
    ]
    emit(
        [each.as_json() for each in known],
        as_json=as_json,
        human=lambda console: console.print(table(headings, rows)),
    )
    if any(each.published != "yes" and each.settings.state == "active" for each in known if dns):
        raise typer.Exit(1)


def _entries(configuration: "Configuration", domain: str = "") -> list[_Entry]:
    """The keys of the configuration, those of one domain only if it is given."""
    from relay.dkim_keys import read_signing_key
    from relay.pki.patterns import canonical_domain

    found = []
    for position, each in enumerate(configuration.settings.dkim.key):
        place: tuple[str | int, ...] = ("dkim", "key", position)
        if domain and canonical_domain(each.domain) != canonical_domain(domain):
            continue
        try:
            key = read_signing_key(each)
        except ConfigurationError as error:
            raise configuration.mistake(
                error.problem, remedy=error.remedy, at=(*place, "key")
            ) from None
        origin = configuration.origin(*place)
        found.append(_Entry(Path(origin.path), each, key))
    return found


def _make(
    configuration: "Configuration",
    domain: str,
    kind: Literal["rsa", "ed25519"],
    use: "Sequence[str]",
    selector: str = "",
) -> _Entry:
    from relay.dkim_file import add_key, file_of, new_selector
    from relay.dkim_keys import read_signing_key
    from relay.settings.mailauth import DkimKey
    from relay.settings.values import is_host_name

    settings = configuration.settings.dkim
    if not is_host_name(domain) or domain.endswith("."):
        remedy = 'write the domain that signs, as "example.org"'
        raise ConfigurationError(f'"{domain}" is no domain', remedy=remedy)
    if wrong := set(use) - {"author", "identity", "seal"}:
        remedy = "use author, identity or seal"
        raise ConfigurationError(f'nothing is signed as "{min(wrong)}"', remedy=remedy)
    if selector and not (selector.isascii() and is_host_name(f"{selector}.x")):
        remedy = 'use letters, digits and hyphens, as "g1-2027"'
        raise ConfigurationError(f'"{selector}" is no selector', remedy=remedy)
    taken = {each.key.selector for each in _entries(configuration, domain)}
    if selector in taken:
        remedy = "choose another, or leave --selector out"
        raise ConfigurationError(f"{domain} has a key {selector} already", remedy=remedy)
    selector = selector or new_selector(kind, taken, datetime.now(UTC))
    entry = DkimKey.model_validate(
        {
            "domain": domain,
            "selector": selector,
            "key": settings.folder / f"{domain}.{selector}.pem",
            "use": tuple(use),
            "state": "next",
        }
    )
    path = file_of(configuration.path)
    with progress("making the key"):
        add_key(path, entry, kind)
    return _Entry(path, entry, read_signing_key(entry))


def _tell_of_new(config: Path | None, entries: list[_Entry], *, as_json: bool) -> None:
    for each in entries:
        put_on_record(find_site(config), "dkim.new", each.record_name)

    def show(console: "Console") -> None:
        for each in entries:
            console.print(f"{each.settings.key}: made; publish")
            console.print(f"\n{_zone_line(each)}\n")
        domain = entries[0].settings.domain
        console.print(f"then put it in use with `gatepost dkim rotate {domain}`")

    emit([each.as_json() for each in entries], as_json=as_json, human=show)


def _zone_line(entry: _Entry) -> str:
    """The record as zone files have it: strings of at most 255 characters (RFC 1035 3.3.14)."""
    text = entry.record
    cut = (text[at : at + _STRING_CHARACTERS] for at in range(0, len(text), _STRING_CHARACTERS))
    strings = " ".join(f'"{each}"' for each in cut)
    return f"{entry.record_name}. 3600 IN TXT ( {strings} )"


def _put_in_use(
    config: Path | None,
    configuration: "Configuration",
    known: list[_Entry],
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Have the next keys sign, if the world can verify them, and those before them no more."""
    from relay.dkim_file import set_state

    coming = [each for each in known if each.settings.state == "next"]
    if not force:
        for each in _with_publication(configuration, coming):
            if each.published != "yes":
                fail(
                    f"{each.record_name}: {each.published}; publish\n\n{_zone_line(each)}\n\n"
                    "and try again once your name servers have it"
                )
    uses = {use for each in coming for use in each.settings.use}
    going = [
        each for each in known if each.settings.state == "active" and uses & set(each.settings.use)
    ]
    for each in coming:  # first: no message in between is without a signature
        set_state(each.path, each.settings, "active")
    for each in going:
        set_state(each.path, each.settings, "retired")
    site = find_site(config)
    put_on_record(site, "dkim.rotate", ", ".join(each.record_name for each in coming))

    def show(console: "Console") -> None:
        for each in coming:
            console.print(f"{each.key.selector}: signs from now on")
        for each in going:
            console.print(
                f"{each.key.selector}: signs no more; keep {each.record_name} for a week,"
            )
            console.print(f"  then remove it with `gatepost dkim retire {each.settings.domain}`")

    changed = {"active": [each.key.selector for each in coming],
               "retired": [each.key.selector for each in going]}  # fmt: skip
    emit(changed, as_json=as_json, human=show)


def _publication(entry: _Entry, found: "PublicKey | Refusal") -> str:
    if isinstance(found, Exception):
        return found.reason
    return "yes" if found.key == entry.key.key.public_key() else "another key is published"


def _with_publication(configuration: "Configuration", known: list[_Entry]) -> list[_Entry]:
    """Say of each key whether it is in the DNS: "yes", or what is there instead."""
    from relay.mailauth.key_record import look_up_keys
    from relay.net.resolver import open_resolver

    async def look_up() -> list[_Entry]:
        resolver = open_resolver(configuration.settings.dns)
        try:
            found = await look_up_keys({each.record_name for each in known}, resolver)
        finally:
            await resolver.close()
        return [
            each._replace(published=_publication(each, found[each.record_name])) for each in known
        ]

    if not known:
        return known
    with progress("asking the DNS"):
        return asyncio.run(look_up())
