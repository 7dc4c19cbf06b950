"""Rules in force, made of a text, for tests that need some; the identity rules are always among them."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, cast

from relay import catalogue
from relay.inbound.judging import Judging
from relay.live_policy import make_panel
from relay.policy_files import compile_stacks

if TYPE_CHECKING:
    from relay.inbound.judging import Panel
    from relay.model import Identity
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.engine import Engine
    from relay.policy.facts import Stage
    from relay.policy.verdict import Verdict
    from relay.ports import AuditSink

__all__ = ["FakePolicies", "engine_of", "panel", "verdict_on"]

PATH = "policy/test.toml"


@cache
def engine_of(text: str = "") -> Engine:
    """Compile a policy file."""
    stack = (PATH,) if text else ()
    return compile_stacks([stack], {PATH: text}.__getitem__)[stack]


def panel(tools: Tools) -> Panel:
    """All checks with their default settings."""
    return make_panel(catalogue.settings_type().model_fields["checks"].default, tools)


class _Strict:
    """No place for records: a check that fails fails the test."""

    def fault(self, _message: str, error: BaseException) -> str:
        raise error


def verdict_on(engine: Engine, stage: Stage, case: Case, tools: Tools) -> Verdict:
    """Gather the facts of a case and ask the rules of one stage, as a session does."""
    judging = Judging(panel(tools), case, cast("AuditSink", _Strict()))
    judging.begin_transaction()
    return asyncio.run(judging.judge(engine, stage))


class FakePolicies:
    """The same rules for everybody: those of `text`."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def engine(self, _listener: str, _identity: Identity | None) -> Engine:
        """The rules."""
        return engine_of(self.text)
