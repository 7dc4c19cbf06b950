"""`gatepost send`: a test message with a client certificate, and every reply shown."""

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from relay.cli.submission import Exchange, Server
    from relay.settings.listener import Listener

__all__ = ["send"]

_PORTS = {"starttls": 25, "implicit": 465, "off": 25}


def send(
    *,
    recipients: Annotated[list[str], typer.Option("--to", help="Recipient; may be repeated.")],
    sender: Annotated[str, typer.Option("--from", help="Envelope sender, and From.")],
    server: Annotated[
        str, typer.Option(help="HOST or HOST:PORT; else the first listener configured.")
    ] = "",
    server_name: Annotated[
        str, typer.Option(help="The name its certificate must have; else the host.")
    ] = "",
    tls: Annotated[
        Literal["starttls", "implicit", "off"] | None, typer.Option(help="How TLS starts.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Our certificate chain, PEM.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Its key, PEM, if not in the same file."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CAs to trust, PEM; else the system's, or ours."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A whole message to send as it is."),
    ] = None,
    subject: Annotated[str, typer.Option(help="Subject of the message to make.")] = "Test",
    body: Annotated[str, typer.Option(help="Its text.")] = "A test message of Gatepost.",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message and show every reply. Exit code 0 if it was taken, 1 if not."""
    from relay.cli import submission

    target, own_ca = _target(server, server_name, tls, config)
    mail = submission.Mail(
        sender, tuple(recipients), _content(file, sender, recipients, subject, body)
    )
    try:
        context = submission.tls_context(ca or own_ca, cert, key)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"certificate, key or CA can't be used: {error.reason}",
            remedy="give PEM files that belong together with --cert, --key and --ca",
        ) from error

    watch = (lambda _: None) if as_json else _show
    done = asyncio.run(submission.submit(target, mail, context, watch=watch))
    outcome = {
        "delivered": done.delivered,
        "reply": done.last_reply,
        "reference": done.reference,
        "problem": done.problem,
        "exchanges": [exchange._asdict() for exchange in done.exchanges],
    }

    def human(console: "Console") -> None:
        if done.problem:
            console.print(f"no reply: {done.problem}")
        console.print("delivered" if done.delivered else "not delivered")
        if done.reference:
            console.print(f"why: gatepost explain {done.reference}")

    emit(outcome, as_json=as_json, human=human)
    if not done.delivered:
        raise typer.Exit(1)


def _show(exchange: "Exchange") -> None:
    if exchange.command:
        typer.echo(f"> {exchange.command}")
    for line in exchange.reply.split("\n"):
        typer.echo(f"< {line}")


def _target(
    server: str,
    name: str,
    tls: Literal["starttls", "implicit", "off"] | None,
    config: Path | None,
) -> "tuple[Server, Path | None]":
    """Return where to send, and the CA of our own relay if it is ours."""
    from relay.cli.submission import Server

    if server:
        host, port = _host_and_port(server, _PORTS[tls or "starttls"])
        chosen = tls or ("implicit" if port == 465 else "starttls")
        return Server(host, port, name or host, chosen), None
    configuration = load_configuration(config)
    listener = configuration.settings.listener[0]
    host, port = _reachable(listener)
    root = configuration.path.parent / "ca" / "root.pem"
    found = Server(host, port, name or configuration.settings.hostname, tls or listener.tls)
    return found, root if root.is_file() else None


def _reachable(listener: "Listener") -> tuple[str, int]:
    if listener.address.startswith("unix:"):
        raise ConfigurationError(
            f"listener {listener.name} is a Unix socket", remedy="give --server HOST:PORT"
        )
    host, port = _host_and_port(listener.address, 25)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    """Read "host", "host:port", "[v6]:port" or a bare IPv6 address."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]"), default
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{text!r} is no server", remedy="write it as HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def _content(
    file: Path | None, sender: str, recipients: list[str], subject: str, body: str
) -> bytes:
    if file is not None:
        return file.read_bytes()
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import localtime, make_msgid

    made = EmailMessage(policy=SMTP)
    made["From"] = sender
    made["To"] = ", ".join(recipients)
    made["Subject"] = subject
    made["Date"] = localtime()
    made["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    made.set_content(body)
    return made.as_bytes()
