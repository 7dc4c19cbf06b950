"""Files that workers take over as they are: the allowlist and the policies, without a reload.

Watched, read and checked in the supervisor, then handed out; a file with mistakes changes nothing. Knows
nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import structlog

from relay import app
from relay.errors import ConfigurationError
from relay.material import read_allowlist, read_text
from relay.policy_files import load_policies
from relay.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LiveFiles", "allowlist_order"]

log = structlog.get_logger("gatepost")


class LiveFiles:
    """The files of one configuration.

    Args:
        blueprint: names them, and holds what they said.
        order: tells all workers something.
        put_on_record: takes an action and its fields.
    """

    def __init__(
        self,
        blueprint: app.Blueprint,
        order: Callable[[dict[str, object]], None],
        put_on_record: Callable[..., None],
    ) -> None:
        self.blueprint = blueprint
        """For workers to come: it holds what the files say now."""
        self._order = order
        self._put_on_record = put_on_record
        self._allowlist = FileWatch([blueprint.material.settings.allowlist])
        self._policies = FileWatch(blueprint.material.policies.paths())

    def look(self) -> None:
        """Hand out what has changed on disk."""
        if self._allowlist.has_changed():
            self._hand_out_allowlist()
        elif self._policies.has_changed():
            self._hand_out_policies()

    def _hand_out_allowlist(self) -> None:
        path = self.blueprint.material.settings.allowlist
        self._allowlist = FileWatch([path])
        try:
            text, allowlist = read_allowlist(path)
        except ConfigurationError as error:
            log.error("allowlist refused, the old one stays in force", error=str(error))
            return
        log.info("allowlist changed", identities=len(allowlist.identities))
        self._put_on_record("allowlist.reload", target=os.fspath(path))
        self.blueprint = app.with_allowlist(self.blueprint, allowlist)
        self._order({"order": "allowlist", "text": text, "path": os.fspath(path)})

    def _hand_out_policies(self) -> None:
        """Give workers the rules and lists as they are now, sessions and all; with mistakes, the old ones stay."""
        policies = self.blueprint.material.policies
        try:
            policies = load_policies(policies.stacks, read_text)
        except ConfigurationError as error:
            mistakes = [str(mistake) for mistake in (error, *error.others)]
            log.error("policy refused, the old one stays in force", mistakes=mistakes)
        else:
            log.info("policy changed", files=len(policies.texts))
            self._put_on_record("policy.reload")
            self.blueprint = app.with_policies(self.blueprint, policies)
            self._order({"order": "policies", "texts": policies.texts})
        self._policies = FileWatch(policies.paths())


def allowlist_order(blueprint: app.Blueprint) -> dict[str, Any] | None:
    """The allowlist as it is now, for workers of an older configuration; None if it has mistakes."""
    path = blueprint.material.settings.allowlist
    with contextlib.suppress(ConfigurationError):  # changed again: that will be noticed
        text, _ = read_allowlist(path)
        return {"order": "allowlist", "text": text, "path": os.fspath(path)}
    return None
