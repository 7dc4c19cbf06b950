"""`gatepost cert renew`, `needs-renewal` and `revoke`: a certificate after it was issued."""

import random
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from cryptography import x509

from relay.ca_lists import CaLists
from relay.cli.context import ConfigOption, JsonOption
from relay.cli.fleet import has_state, restrict
from relay.cli.operator_acts import operator, put_on_record
from relay.cli.output import emit, fail
from relay.cli.secrets import PassphraseFileOption, read_passphrase
from relay.cli.site import Site, find_site
from relay.errors import ConfigurationError, GatepostError
from relay.model import Restriction, RestrictionKind
from relay.pki.certificate import Certificate
from relay.renewal import Renewal, due_at, read_leaf
from relay.renewal import renew as renew_files

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["needs_renewal", "renew", "revoke"]

Reason = Literal[
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
]

JITTER = 0.05
"""Share of a certificate's life by which the daemon comes early: many clients, not all at once."""

RETRY_SECONDS = 300.0
PAUSE_SECONDS = 5.0
"""Between renewals at least, however short a certificate's life is: a CA is not to be flooded."""

WhatArgument = Annotated[
    str, typer.Argument(help="The PEM file, or the name it was issued under.", metavar="NAME|FILE")
]


def renew(
    what: WhatArgument,
    *,
    key: Annotated[Path | None, typer.Option(help="Its key; else FILE.key beside it.")] = None,
    reuse_key: Annotated[bool, typer.Option("--reuse-key", help="Keep the key.")] = False,
    days: Annotated[int, typer.Option(min=0, max=3650, help="0: as long as the old one.")] = 0,
    hours: Annotated[int, typer.Option(min=0, max=720, help="The same in hours.")] = 0,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="Go on: renew at two thirds of each life.")
    ] = False,
    hook: Annotated[str, typer.Option("--exec", help="Command to run after a renewal.")] = "",
    est: Annotated[
        str,
        typer.Option(
            help="Ask this EST server, https://edge.example.org:8443, not a CA of our own.",
            show_default=False,
        ),
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the CA that server has; else gatepost-root.pem beside FILE."
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a certificate of our CA, and its key, by the next; its pin is on the list before.

    The old pin stands until the old certificate's end, so nothing is refused in between. With --est it
    is a partner's command: FILE and its key are all it needs.
    """
    if est and (days or hours):
        remedy = "leave out --days and --hours"
        raise ConfigurationError("the EST server says how long it holds", remedy=remedy)
    site = None if est else find_site(config)
    path = _path_of(site, what) if site else Path(what)
    key = key or path.with_suffix(".key")
    lifetime = timedelta(days=days, hours=hours) or None
    passphrase = read_passphrase(passphrase_file) if site else None

    def once() -> None:
        if site is None:
            done = _renew_by_est(path, key, est, ca, keeps_key=reuse_key)
        else:
            done = renew_files(
                site.ca,
                path,
                key,
                site.allowlist,
                lifetime=lifetime,
                keeps_key=reuse_key,
                passphrase=passphrase,
            )
            _put_on_record(site, done)
        _show(path, done, as_json=as_json)
        if hook:
            subprocess.run(shlex.split(hook), check=False)  # noqa: S603  the operator's command

    if not daemon:
        once()
        return
    while True:
        renew_when_due(path, once, time.sleep, lambda: datetime.now(UTC))


def renew_when_due(
    path: Path,
    once: Callable[[], None],
    sleep: Callable[[float], None],
    now: Callable[[], datetime],
) -> None:
    """Wait for two thirds of the certificate's life, less some jitter, and renew it.

    A renewal that fails is said and tried again in five minutes: the old one still has a third of
    its life left.
    """
    leaf = read_leaf(path)
    due = due_at(leaf) - (leaf.not_after - leaf.not_before) * random.random() * JITTER  # noqa: S311
    while (left := (due - now()).total_seconds()) > 0:
        sleep(min(left, 3600))  # a machine that slept sees the clock again within the hour
    try:
        once()
    except (GatepostError, OSError) as error:
        typer.echo(str(error), err=True)
        sleep(RETRY_SECONDS)
    else:
        sleep(PAUSE_SECONDS)


def _renew_by_est(path: Path, key: Path, url: str, ca: Path | None, *, keeps_key: bool) -> Renewal:
    from relay.est_files import renew_by_est

    return Renewal(renew_by_est(path, key, url, ca, keeps_key=keeps_key), None, ())


def needs_renewal(
    what: WhatArgument,
    *,
    expires_in: Annotated[
        str,
        typer.Option(help='Share of its life after which it does, "66%", or hours left, "48h".'),
    ] = "66%",
    config: ConfigOption = None,
) -> None:
    """Say by the exit code whether it is time to renew: 0 yes, 1 no, 2 no such file, 255 error."""
    try:
        leaf = read_leaf(_path_of(find_site(config), what))
        due = _due(leaf, expires_in)
    except FileNotFoundError as error:
        fail(f"{error.filename}: there is no such file", 2)
    except (ConfigurationError, OSError) as error:
        fail(str(error), 255)
    is_due = datetime.now(UTC) >= due
    typer.echo(f"renewal is due {'since' if is_due else 'from'} {due:%F %T} UTC")
    raise typer.Exit(0 if is_due else 1)


def revoke(
    target: Annotated[str, typer.Argument(metavar="NAME|SERIAL")],
    *,
    reason: Annotated[Reason, typer.Option(help="RFC 5280 5.3.1.")] = "unspecified",
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke the valid certificates of a name, or one by its serial number; the list is new at once.

    Running relays refuse them within a second, on all nodes that share the state, pinned or not. It is recorded with your name and the time, and cannot be taken back. Pins stay on the allowlist.
    """
    site = find_site(config)
    lists = CaLists(site.ca)
    passphrase = read_passphrase(passphrase_file)
    certificates = {each.serial: each for each in lists.find(target)}
    records = lists.revoke(target, x509.ReasonFlags(reason), operator(), passphrase)
    problem = _tell_nodes(site, [certificates[each["serial"]] for each in records], reason)
    for record in records:
        put_on_record(site, "cert.revoke", record["name"], serial=record["serial"], reason=reason)

    def human(console: "Console") -> None:
        for record in records:
            console.print(f"revoked      {record['name']}, serial {record['serial']} ({reason})")
        console.print(f"new list     {lists.path}")
        console.print(f"If the key is lost, too: gatepost pin remove {records[0]['name']}")

    emit({"revoked": records, "crl": lists.path}, as_json=as_json, human=human)
    if problem:
        fail(f"revoked; workers hear of it by the list only: {problem}")


def _tell_nodes(site: Site, certificates: Sequence[Certificate], reason: Reason) -> str:
    """Have all nodes refuse certificates at once, whatever lists they read; return what went wrong."""
    if not has_state(site):
        return ""
    now = time.time()
    # For good: with `chain = "pin-only"` the certificate would be let in when it has expired.
    revocations = [
        Restriction(
            RestrictionKind.REVOCATION, f"cert:sha256:{each.sha256}", reason, operator(), now
        )
        for each in certificates
    ]
    return restrict(site, revocations)


def _path_of(site: Site, what: str) -> Path:
    """A file by its path, or by the name it was issued under; clients before servers."""
    usual = (site.folder / folder / f"{what}.pem" for folder in ("clients", "tls"))
    return next((path for path in usual if path.is_file()), Path(what))


def _due(leaf: Certificate, expires_in: str) -> datetime:
    number, unit = expires_in[:-1], expires_in[-1:]
    if number.isdecimal() and unit == "%" and int(number) <= 100:
        return due_at(leaf, int(number) / 100)
    if number.isdecimal() and unit == "h":
        return leaf.not_after - timedelta(hours=int(number))
    raise ConfigurationError(f"--expires-in {expires_in!r}", remedy='write "66%" or "48h"')


def _put_on_record(site: Site, done: Renewal) -> None:
    certificate = done.certificate
    put_on_record(
        site,
        "cert.renew",
        certificate.common_name,
        serial=certificate.serial,
        spki=f"spki:sha256:{certificate.spki_sha256}",
    )


def _show(path: Path, done: Renewal, *, as_json: bool) -> None:
    certificate = done.certificate
    value = {
        "chain": path,
        "serial": certificate.serial,
        "not_after": certificate.not_after.isoformat(),
        "identity": done.identity,
        "ended_pins": done.ended_pins,
    }

    def human(console: "Console") -> None:
        console.print(f"{path}: valid until {certificate.not_after:%F %T} UTC")
        if done.identity:
            console.print(f"its pin is on the allowlist, as {done.identity}")

    emit(value, as_json=as_json, human=human)
