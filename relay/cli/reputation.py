"""`gatepost reputation`: what is noted of a client, its network, its software or a sender's domain; and a clean slate.

Whose score a key is about is found by its form. What is noted, and what follows from it, others know
(`policy/ledger.py`, the policy files).
"""

import re
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from relay.cli.completion import identities
from relay.cli.context import ConfigOption, JsonOption, load_configuration
from relay.cli.operator_acts import put_on_record
from relay.cli.output import emit, fail, table
from relay.cli.shared_state import ask_store
from relay.cli.site import find_site
from relay.errors import ConfigurationError
from relay.model import Endpoint, Score
from relay.policy.ledger import (
    Subject,
    SubjectKind,
    credit_of,
    debit_of,
    network_of,
    score_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from relay.config import Configuration
    from relay.model import Network
    from relay.policy.rules import Rule
    from relay.ports import Store
    from relay.settings import Settings

__all__ = ["app", "clear", "show"]

app = typer.Typer(no_args_is_help=True)

_JA4 = re.compile(r"[tqd]\d\d[di]\d{4}.{2}_[0-9a-f]{12}_[0-9a-f]{12}")
_ANSWERS = {4: 24, 6: 64}
"""Which part of an address answers for what comes from it."""

_KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="An address or network, an identity, a sender's domain or a JA4 fingerprint.",
        show_default=False,
        autocompletion=identities,
    ),
]


class _Noted(NamedTuple):
    """What the store knows of somebody: two sums that fade."""

    subject: Subject
    credit: float
    debit: float


@app.callback()
def _group() -> None:
    """What clients have done: their scores, what they are made of, and who asks for them."""


@app.command()
def show(key: _KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the score of a client, what it is made of, and which rules ask for it."""
    from relay.cli.policy_choice import choose

    configuration = load_configuration(config)
    subjects = _subjects(key, configuration)
    rules = {
        (listener, rule.name): rule
        for (listener, _), engine in choose(configuration).engines.items()
        for rule in engine.rules
    }
    noted = _noted(configuration.settings, subjects)
    found = [
        _described(each, configuration.settings, list(_asking(each.subject.kind, rules)))
        for each in noted
    ]
    emit(found, as_json=as_json, human=lambda console: _show(console, found))


@app.command()
def clear(key: _KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Forget what is noted for and against a client. Workers know it two seconds later. Exit code 1: there was nothing."""
    configuration = load_configuration(config)
    settings = configuration.settings
    noted = [
        each
        for each in _noted(settings, _subjects(key, configuration), is_to_be_cleared=True)
        if each.credit or each.debit
    ]
    if not noted:
        fail(f"nothing is noted of {key}")
    for each in noted:
        score = score_of(each.credit, each.debit)
        target = f"{each.subject.kind} {each.subject.name}"
        put_on_record(find_site(config), "reputation.clear", target, reason=f"score {score}")
    emit(
        [
            {"kind": str(each.subject.kind), "name": each.subject.name, "cleared": True}
            for each in noted
        ],
        as_json=as_json,
        human=lambda console: console.print(
            "\n".join(f"{each.subject.kind} {each.subject.name}: cleared" for each in noted)
        ),
    )


def _subjects(key: str, configuration: "Configuration") -> "Sequence[Subject]":
    """Who is meant: with a dot in it, an identity's name may be that of a domain as well.

    Raises:
        ConfigurationError: scores are of no such thing.
    """
    from relay.material import read_allowlist
    from relay.pki.patterns import canonical_domain
    from relay.settings.values import parse_network

    if _JA4.fullmatch(key):
        return [Subject(SubjectKind.JA4, key)]
    try:
        return [Subject(SubjectKind.NETWORK, _answering(parse_network(key)))]
    except ValueError:
        pass
    domain = canonical_domain(key.rpartition("@")[2])
    _, allowlist = read_allowlist(configuration.settings.allowlist)
    found = [Subject(SubjectKind.IDENTITY, key)] if "@" not in key else []
    if "." in domain or "@" in key:
        is_identity = found and allowlist.find(key) is not None
        found = [*(found if is_identity else ()), Subject(SubjectKind.SENDER, domain)]
    return found


def _answering(network: "Network") -> str:
    """The network that answers for an address or a part of it."""
    length = _ANSWERS[network.version]
    if network.prefixlen < length:
        raise ConfigurationError(
            f"{network} has no score: each /{length} has its own",
            remedy=f"ask for one, as {network.network_address}/{length}",
        )
    return network_of(Endpoint(str(network.network_address), 0))


def _noted(
    settings: "Settings", subjects: "Sequence[Subject]", *, is_to_be_cleared: bool = False
) -> list[_Noted]:
    now = time.time()

    async def act(store: "Store") -> list[_Noted]:
        names = [name(each) for each in subjects for name in (credit_of, debit_of)]
        sums = await store.scores(names, now)
        if is_to_be_cleared:
            # What somebody adds meanwhile stays: taken away is what was there.
            lives = [life for each in subjects for life in (_half_life(each, settings),) * 2]
            parts = zip(names, sums, lives, strict=True)
            await store.add_scores([Score(name, -held, life) for name, held, life in parts], now)
        return [_Noted(*each) for each in zip(subjects, sums[::2], sums[1::2], strict=True)]

    return ask_store(settings, act)


def _half_life(subject: Subject, settings: "Settings") -> float:
    table: Any = getattr(settings.checks, "reputation")  # noqa: B009  the catalogue adds it
    seconds: float = getattr(table.half_life, subject.kind).total_seconds()
    return seconds


def _asking(
    kind: SubjectKind, rules: "dict[tuple[str, str], Rule]"
) -> "Iterator[tuple[Rule, list[str]]]":
    """The rules that hang on a score, in condition or words, and their listeners."""
    facts = {f"reputation.{kind}"}
    if kind in {SubjectKind.IDENTITY, SubjectKind.NETWORK}:
        facts.add("reputation.score")
    listeners: dict[str, list[str]] = {}
    for (listener, name), rule in rules.items():
        if facts & (rule.when.facts | rule.text_facts):
            listeners.setdefault(name, []).append(listener)
    for name, where in listeners.items():
        yield rules[where[0], name], where


def _described(
    noted: _Noted, settings: "Settings", asking: "Sequence[tuple[Rule, list[str]]]"
) -> dict[str, Any]:
    from datetime import timedelta

    from relay.settings.values import format_duration

    return {
        "kind": str(noted.subject.kind),
        "name": noted.subject.name,
        "score": score_of(noted.credit, noted.debit),
        "credit": round(noted.credit, 1),
        "debit": round(noted.debit, 1),
        "half_life": format_duration(timedelta(seconds=_half_life(noted.subject, settings))),
        "rules": [
            {
                "rule": rule.name,
                "at": str(rule.at),
                "then": str(rule.then),
                "mode": "shadow" if rule.is_shadow else "enforce",
                "listeners": listeners,
            }
            for rule, listeners in asking
        ],
    }


def _show(console: "Console", found: list[dict[str, Any]]) -> None:
    for each in found:
        console.print(f"{each['kind']} {each['name']}: {each['score']}")
        if each["credit"] or each["debit"]:
            console.print(
                f"{each['credit']} for it, {each['debit']} against it; "
                f"half of both is gone after {each['half_life']}"
            )
        else:
            console.print("Nothing is noted, or it has faded.")
        if not each["rules"]:
            console.print(f"No rule asks for it (reputation.{each['kind']}).\n")
            continue
        headings = ("rule", "at", "then", "mode", "listeners")
        rows = (
            [*map(rule.get, headings[:-1]), ", ".join(rule["listeners"])] for rule in each["rules"]
        )
        console.print(table(headings, rows))
