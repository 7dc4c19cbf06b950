"""Which checks there are: every file of `checks/`, its facts, its settings, and how it is made.

A check is found by its file and needs to be named nowhere else. This module knows none of them,
and decides nothing.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import create_model

import relay.checks
from relay.settings import Settings
from relay.settings.policy import Checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.policy.check import Check, Tools, WaitingCheck
    from relay.policy.facts import Fact
    from relay.settings.table import Table

__all__ = ["CheckModule", "build_checks", "check_modules", "facts", "settings_type"]


class CheckModule(Protocol):
    """What each file of `checks/` has (see `policy/check.py`)."""

    FACTS: tuple[Fact, ...]
    Settings: type[Table]

    def build(self, settings: Any, tools: Tools) -> Check | WaitingCheck:
        """Make the check."""


@cache
def check_modules() -> Mapping[str, CheckModule]:
    """Return all checks by name, which is their file's and their facts' prefix."""
    package = relay.checks
    found = {
        each.name: cast("CheckModule", import_module(f"{package.__name__}.{each.name}"))
        for each in iter_modules(package.__path__)
    }
    # A file of `checks/` without facts is what two checks share.
    return MappingProxyType({name: each for name, each in found.items() if hasattr(each, "FACTS")})


@cache
def facts() -> Mapping[str, Fact]:
    """Return every fact that a rule may name, by its name."""
    return MappingProxyType(
        {fact.name: fact for module in check_modules().values() for fact in module.FACTS}
    )


@cache
def settings_type() -> type[Settings]:
    """Return the type of the whole configuration: `Settings` with a `[checks.<name>]` for each check."""
    tables: dict[str, Any] = {}
    for name, module in check_modules().items():
        # A name of its own, for the JSON schema.
        table = create_model(f"{name.title()}Check", __base__=module.Settings)
        table.__doc__ = module.Settings.__doc__
        tables[name] = (table, table())
    checks = create_model("Checks", __base__=Checks, **tables)
    checks.__doc__ = Checks.__doc__
    whole = create_model("Settings", __base__=Settings, checks=(checks, checks()))
    whole.__doc__ = Settings.__doc__
    return whole


def build_checks(settings: Checks, tools: Tools) -> dict[str, Check | WaitingCheck]:
    """Make every check with its settings."""
    return {
        name: module.build(getattr(settings, name), tools)
        for name, module in check_modules().items()
    }
