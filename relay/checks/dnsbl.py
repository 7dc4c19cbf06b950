"""Whether lists in the DNS know the client's address, its EHLO name or the sender's domain.

Knows nothing of what may follow from it: the rules weigh the score. How lists are asked, and which
are not believed, is in `dns_lists`. RFC 5782.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from relay.checks.dns_lists import DnsList, DnsLists, Finding, Limits
from relay.policy.facts import Fact, FactType, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.checks.dns_lists import Subject
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "DnsblCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "dnsbl.listed",
        FactType.BOOL,
        Stage.CONNECT,
        "Whether a block list (of a weight above 0) lists the client's address.",
    ),
    Fact(
        "dnsbl.allowed",
        FactType.BOOL,
        Stage.CONNECT,
        "Whether an allow list (of a weight below 0) lists it.",
    ),
    Fact(
        "dnsbl.score",
        FactType.DOUBLE,
        Stage.CONNECT,
        "The sum of the weights of all lists that list it; 0.0 for a client of our own side.",
    ),
    Fact("dnsbl.lists", FactType.STRINGS, Stage.CONNECT, "The block lists that list it."),
    Fact(
        "dnsbl.reasons",
        FactType.STRINGS,
        Stage.CONNECT,
        'Their reasons in their own words, as "dnsbl.example.org: open proxy".',
    ),
    Fact(
        "dnsbl.unanswered",
        FactType.STRINGS,
        Stage.CONNECT,
        'The lists that were not counted and why, as "dnsbl.example.org: silent".',
    ),
    Fact(
        "dnsbl.hello_listed",
        FactType.BOOL,
        Stage.HELLO,
        "Whether a block list for names lists the EHLO name.",
    ),
    Fact(
        "dnsbl.hello_score",
        FactType.DOUBLE,
        Stage.HELLO,
        "The sum of the weights of the lists that list the EHLO name.",
    ),
    Fact(
        "dnsbl.sender_listed",
        FactType.BOOL,
        Stage.SENDER,
        "Whether a block list for domains lists the sender's domain.",
    ),
    Fact(
        "dnsbl.sender_score",
        FactType.DOUBLE,
        Stage.SENDER,
        "The sum of the weights of the lists that list the sender's domain.",
    ),
)


class DnsblList(DnsList):
    """One list; `[[checks.dnsbl.list]]`, as often as there are lists."""

    about: Literal["peer", "hello", "sender"] = "peer"
    """What is looked up: the client's address, its EHLO name, or the sender's domain."""


class Settings(Limits):
    """Lists in the DNS. None is asked unless it stands here, and a rule names a fact that needs it."""

    list: tuple[DnsblList, ...] = ()
    """The lists that are asked, all at once."""


def build(settings: Settings, tools: Tools) -> DnsblCheck:
    """Make the check."""
    return DnsblCheck(
        {
            stage: DnsLists(
                (each for each in settings.list if each.about == about),
                tools.resolver,
                tools.clock,
                settings,
            )
            for stage, about in _ABOUT.items()
        }
    )


_ABOUT: Final = {Stage.CONNECT: "peer", Stage.HELLO: "hello", Stage.SENDER: "sender"}


class DnsblCheck:
    """Asks the lists of a stage (`policy.check.WaitingCheck`)."""

    def __init__(self, lists: Mapping[Stage, DnsLists]) -> None:
        self._lists = lists

    async def gather(self, case: Case, stage: Stage, wanted: frozenset[str]) -> Mapping[str, Value]:
        """Report on what this stage is about."""
        lists = self._lists[stage]
        subjects = _SUBJECTS[stage](case)
        found = await lists.look_up(subjects)
        if stage is not Stage.CONNECT:
            prefix = f"dnsbl.{_ABOUT[stage]}_"
            return {f"{prefix}listed": bool(found.listed), f"{prefix}score": found.score}
        facts = _peer_facts(found)
        if "dnsbl.reasons" in wanted:
            facts["dnsbl.reasons"] = await lists.reasons(subjects, found.listed)
        return facts


def _peer_facts(found: Finding) -> dict[str, Value]:
    return {
        "dnsbl.listed": bool(found.listed),
        "dnsbl.allowed": bool(found.allowed),
        "dnsbl.score": found.score,
        "dnsbl.lists": found.listed,
        "dnsbl.unanswered": found.unanswered,
    }


def _peer(case: Case) -> Sequence[Subject]:
    address = case.peer.ip
    return () if address is None or case.peer.is_local else (address,)


def _hello(case: Case) -> Sequence[Subject]:
    return () if case.hello.startswith("[") or "." not in case.hello else (case.hello,)


def _sender(case: Case) -> Sequence[Subject]:
    address = case.sender.address if case.sender else None
    return () if address is None or address.domain.startswith("[") else (address.domain,)


_SUBJECTS: Final = {Stage.CONNECT: _peer, Stage.HELLO: _hello, Stage.SENDER: _sender}
