"""What a policy file may say, key by key: `[[rule]]`, `[[limit]]`, `[lists.<name>]`. The docstrings are the manual.

Types and forms only; whether a condition makes sense is `compiler.py`'s to find out, and a limit `limits.py`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from relay.policy.facts import Stage
from relay.policy.limits import Count, Rate, parse_rate
from relay.policy.lists import ListKind
from relay.policy.rules import Action, OnError
from relay.settings.table import Table
from relay.settings.values import Duration

__all__ = ["LimitTable", "ListTable", "PolicyTable", "RuleTable"]


class RuleTable(Table):
    """One rule. In a later file, one of the same name replaces the keys it has, and keeps the others."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Its name, in replies to you: the audit trail, metrics and `gatepost policy`."""

    at: Stage
    """When it is asked: `connect`, `hello`, `sender`, `recipient` or `message`."""

    when: str = "true"
    """The condition, in CEL, over facts and lists: `'!identity.known && dnsbl.score >= 3.0'`."""

    then: Action
    """What follows if it holds: `reject` (5xx), `defer` (4xx), `accept` (no further rules at this stage),
    `tag` (a header field), `ban` (the client's address) or `suspend` (its identity)."""

    reply: str | None = None
    """What the client is told, with facts in braces: `"550 5.7.1 {sender.domain} is not welcome"`."""

    header: str | None = None
    """For `tag`: the name of the header field. Fields of this name that come in are taken out."""

    value: str | None = None
    """For `tag`: its value, with facts in braces."""

    duration: Duration | None = None
    """For `ban` and `suspend`: how long, the first time."""

    prefix: int = Field(default=32, ge=8, le=32)
    """For `ban`: how many bits of an IPv4 address are banned."""

    prefix6: int = Field(default=64, ge=16, le=128)
    """For `ban`: how many bits of an IPv6 address are banned."""

    mode: Literal["enforce", "shadow"] = "enforce"
    """`shadow`: what it would have done goes on record, and is not done."""

    on_error: OnError = OnError.DEFER
    """What follows if a fact it depends on can't be found out: `defer` (451), `skip` (as if it did not
    hold) or `break` (as if it did)."""

    enabled: bool = True
    """`false` takes out a rule of an earlier file."""


class ListTable(Table):
    """A list that rules ask: `lists.partners.has(sender.domain)`."""

    kind: ListKind = ListKind.EXACT
    """`exact`: texts, case ignored. `domain`: domains and all below them. `network`: addresses and networks."""

    values: tuple[str, ...] = ()
    """Its entries."""

    file: Path | None = None
    """A file with more entries, one a line; `#` begins a comment."""


RateField = Annotated[Rate, PlainValidator(parse_rate)]


class LimitTable(Table):
    """A limit. In a later file, one of the same name replaces the keys it has, and keeps the others."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Its name: the fact `rate.limit`, and in replies to you."""

    count: Count
    """What is counted: `messages` (at MAIL), `recipients`, `new_recipients` (at RCPT), `bytes` (at the end
    of a message), `connections`, `handshakes`, `rejected_commands`."""

    key: tuple[str, ...] = Field(min_length=1)
    """The facts by whose values is counted: `["identity.name"]`, `["peer.network", "sender.domain"]`. Where one
    is "" (nobody has an identity, say), the limit does not count."""

    rate: tuple[RateField, ...] = ()
    """How much in how much time, in several windows together: `["100/1h", "1000/1d"]`."""

    tier: dict[Literal["unknown", "new", "verified", "trusted"], tuple[RateField, ...]] = Field(
        default_factory=dict
    )
    """Instead of `rate`, for clients of some tiers; `unknown` are those without an identity. `[]`: no limit."""

    enabled: bool = True
    """`false` takes out a limit of an earlier file."""


class PolicyTable(Table):
    """A policy file."""

    rule: tuple[RuleTable, ...] = ()
    """The rules."""

    limit: tuple[LimitTable, ...] = ()
    """The limits."""

    lists: dict[str, ListTable] = Field(default_factory=dict)
    """The lists."""
