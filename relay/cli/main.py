"""The command `gatepost`: all its subcommands, and how mistakes end.

What a command does stands in its own file; heavy imports happen inside commands, so that
`gatepost --help` and shell completion answer at once.
"""

import sys
from typing import Annotated

import typer

from relay import __version__
from relay.cli import ban, ca, cert, check, dkim, limits, pin, policy, reputation
from relay.cli.cert_life import needs_renewal, renew, revoke
from relay.cli.demo import demo
from relay.cli.enrolment import enroll, invitations, invite
from relay.cli.explain import explain
from relay.cli.init import init
from relay.cli.issued import export, list_issued, show
from relay.cli.policy_explain import explain as policy_explain
from relay.cli.policy_replay import diff, replay
from relay.cli.reload import reload
from relay.cli.run import run
from relay.cli.send import send
from relay.cli.status import status
from relay.errors import ConfigurationError, GatepostError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gatepost",
    help="Gatepost, an authenticating SMTP relay: verified identity, or nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatepost {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    pass


app.command()(init)
app.command()(run)
app.command()(demo)
app.add_typer(check.app, name="check")
app.add_typer(ca.app, name="ca")
app.add_typer(cert.app, name="cert")
cert.app.command("list")(list_issued)
cert.app.command()(show)
cert.app.command()(export)
cert.app.command()(renew)
cert.app.command("needs-renewal")(needs_renewal)
cert.app.command()(revoke)
cert.app.command()(invite)
cert.app.command()(invitations)
cert.app.command()(enroll)
app.add_typer(pin.app, name="pin")
app.add_typer(dkim.app, name="dkim")
app.add_typer(ban.app, name="ban")
app.add_typer(reputation.app, name="reputation")
app.add_typer(limits.app, name="limits")
app.add_typer(policy.app, name="policy")
policy.app.command("explain")(policy_explain)
policy.app.command()(replay)
policy.app.command()(diff)
app.command()(send)
app.command()(explain)
app.command()(status)
app.command()(reload)


def main() -> None:
    """Run the command line; the operator's mistakes are lines on standard error, no tracebacks."""
    try:
        app(prog_name="gatepost")
    except ConfigurationError as error:
        for mistake in (error, *error.others):
            typer.echo(str(mistake), err=True)
        sys.exit(2)
    except GatepostError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"{error.filename}: {error.strerror}; check the path and its mode", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
