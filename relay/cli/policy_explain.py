"""`gatepost policy explain`: what the rules in force would do with a message, and because of which facts."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import completion
from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.output import emit, progress
from relay.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from relay.cli.policy_choice import Choice
    from relay.cli.rehearsal import Rehearsal, Step
    from relay.config import Configuration
    from relay.model import Recipient, Sender
    from relay.policy.case import Case
    from relay.policy.facts import Value
    from relay.policy.rules import Rule
    from relay.ports import Store
    from relay.settings import Settings
    from relay.settings.listener import Listener

__all__ = ["explain"]

_REFUSED = 1


def explain(
    message: Annotated[
        Path, typer.Argument(help="The message, as a file.", exists=True, dir_okay=False)
    ],
    to: Annotated[list[str], typer.Option("--to", help="A recipient. Again for more.")],
    *,
    sender: Annotated[
        str | None,
        typer.Option("--from", help="The envelope sender; else the author. '' is the null sender."),
    ] = None,
    identity: Annotated[
        str,
        typer.Option(
            "--identity",
            "--as",
            help="Who sends it; else nobody known.",
            autocompletion=completion.identities,
        ),
    ] = "",
    peer: Annotated[str, typer.Option(help="The client's address.")] = "127.0.0.1",
    hello: Annotated[str, typer.Option(help="Its name in EHLO.")] = "client.example.org",
    tls: Annotated[str, typer.Option(help="Its TLS version.")] = "TLSv1.3",
    listener: Annotated[
        str,
        typer.Option(
            help="Where it comes in; else the first.", autocompletion=completion.listeners
        ),
    ] = "",
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="A file in the place of the one of its name. Again for more."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the rules would do with a message: each fact, each rule, the verdict. Sends nothing.

    The name servers are asked; limits are looked at, not charged. Exit code 0: it passes; 1: it does not.
    """
    from relay.cli.policy_choice import choose
    from relay.model import Recipient

    configuration = load_configuration(config)
    choice = choose(configuration, policy or ())
    name = choice.listener(listener)
    place = next(each for each in configuration.settings.listener if each.name == name)
    content = re.sub(rb"\r?\n", b"\r\n", message.read_bytes())
    case = _case(choice, place, identity=identity, peer=peer, hello=hello, tls=tls)
    envelope = _sender(sender, content), [Recipient(_address(each)) for each in to]
    with progress("Asking the checks"):
        done = asyncio.run(_rehearse(configuration, choice, case, envelope, content))
    emit(_plain(done), as_json=as_json, human=lambda console: _show(console, done))
    if not done.steps[-1].verdict.is_compliant:
        raise typer.Exit(_REFUSED)


def _case(
    choice: "Choice", listener: "Listener", *, identity: str, peer: str, hello: str, tls: str
) -> "Case":
    from relay.model import Endpoint, TlsFacts, TrustDecision, TrustStatus
    from relay.policy.case import Case

    endpoint = Endpoint(peer, 0)
    if endpoint.ip is None:
        raise ConfigurationError(f"{peer!r} is no address", remedy="write it as 192.0.2.1")
    known = choice.identity(identity)
    status = TrustStatus.PINNED if known else TrustStatus.ABSENT
    asked = listener.client_certificate != "off"
    return Case(
        peer=endpoint,
        listener=listener.name,
        identity=known,
        decision=TrustDecision(status, known, "assumed") if asked else None,
        tls=TlsFacts(tls, "", 0, "", resumed=False),
        hello=hello,
    )


async def _rehearse(
    configuration: "Configuration",
    choice: "Choice",
    case: "Case",
    envelope: "tuple[Sender, list[Recipient]]",
    content: bytes,
) -> "Rehearsal":
    from relay.cli.rehearsal import OnlyLooking, rehearse
    from relay.country_database import open_country_database
    from relay.live_policy import make_panel, offload
    from relay.net.clock import SystemClock
    from relay.net.resolver import open_resolver
    from relay.policy.check import Tools

    settings = configuration.settings
    countries = settings.checks.country_database
    resolver, store = open_resolver(settings.dns), _open_store(settings)
    tools = Tools(
        settings.hostname,
        SystemClock(),
        resolver,
        OnlyLooking(store),
        offload,
        country_of=open_country_database(countries) if countries else None,
    )
    name = case.identity.name if case.identity else ""

    def engine_for(is_known: bool) -> Any:
        return choice.engine(case.listener, name if is_known else "")

    try:
        return await rehearse(
            case,
            make_panel(settings.checks, tools),
            engine_for,
            envelope,
            content,
        )
    finally:
        await resolver.close()
        await store.close()


def _open_store(settings: "Settings") -> "Store":
    """The store in use; an empty one before the first start."""
    from relay.state.memory import MemoryStore
    from relay.state.opening import open_store
    from relay.state.sqlite_file import FILE_NAME

    if settings.state.kind == "sqlite" and not (settings.state_dir / FILE_NAME).exists():
        return MemoryStore()
    return open_store(settings.state, settings.state_dir)


def _sender(text: str | None, content: bytes) -> "Sender":
    from relay.mail import headers
    from relay.model import Sender

    if text is None:
        authors = headers.split(content).authors
        return Sender(authors[0] if authors else None)
    return Sender(_address(text) if text.strip("<>") else None)


def _address(text: str) -> Any:
    from relay.model import Address

    local, at, domain = text.strip("<>").rpartition("@")
    if not (local and at and domain):
        raise ConfigurationError(f"{text!r} is no address", remedy="write it as user@example.org")
    return Address(local, domain)


# --- what is said -----------------------------------------------------------------------------------


def _result(step: "Step", rule: "Rule", answer: bool | None) -> str:
    if answer is not None:
        return "holds" if answer else "does not hold"
    return "not asked" if rule.when.facts - step.facts.keys() else "can't be said"


def _plain(done: "Rehearsal") -> dict[str, Any]:
    last = done.steps[-1].verdict
    return {
        "passes": last.is_compliant,
        "rule": last.rule,
        "reply": str(last.reply) if last.reply else "",
        "tags": [f"{name}: {value}" for name, value in done.tags],
        "check_ms": {name: round(each * 1000, 1) for name, each in sorted(done.seconds.items())},
        "faults": done.faults,
        "stages": [_plain_step(step) for step in done.steps],
    }


def _plain_step(step: "Step") -> dict[str, Any]:
    verdict = step.verdict
    return {
        "stage": step.stage.value,
        "recipient": step.recipient,
        "facts": {name: _plain_value(value) for name, value in sorted(step.facts.items())},
        "rules": [
            {
                "name": rule.name,
                "result": _result(step, rule, answer),
                "then": rule.then.value,
                "mode": "shadow" if rule.is_shadow else "enforce",
                "when": rule.when.text,
            }
            for rule, answer in step.answers
        ],
        "rule": verdict.rule,
        "reply": str(verdict.reply) if verdict.reply else "",
        "shadow": verdict.shadow,
        "sanction": verdict.sanction.kind.value if verdict.sanction else "",
    }


def _plain_value(value: "Value") -> object:
    from relay.policy.facts import Missing

    return {"missing": value.reason} if isinstance(value, Missing) else value


def _show(console: "Console", done: "Rehearsal") -> None:
    shown: set[str] = set()
    for step in done.steps:
        console.print(f"{step.stage.value} {step.recipient}".rstrip())
        for name, value in sorted(step.facts.items()):
            if name not in shown or name.startswith("recipient."):
                console.print(f"    {name} = {_plain_value(value)}")
        shown.update(step.facts)
        for rule, answer in step.answers:
            mode = " (shadow)" if rule.is_shadow else ""
            console.print(f"    rule {rule.name}{mode}: {_result(step, rule, answer)}")
        if step.verdict.reply is not None:
            console.print(f"    => {step.verdict.rule}: {step.verdict.reply}")
    for name, value in done.tags:
        console.print(f"adds {name}: {value}")
    took = ", ".join(f"{name} {each * 1000:.1f} ms" for name, each in sorted(done.seconds.items()))
    console.print(f"\nchecks took: {took or 'nothing was asked'}")
    for fault in done.faults:
        console.print(fault)
    last = done.steps[-1].verdict
    console.print("It passes." if last.is_compliant else f"Refused by {last.rule}: {last.reply}")
