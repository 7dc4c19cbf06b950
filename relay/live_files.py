"""Files that workers take over as they are: the allowlist and the policies, without a reload.

Watched, read and checked in the supervisor, then handed out; a file with mistakes changes nothing. Knows
nothing of what they mean.
"""

from __future__ import annotations

import base64
import contextlib
import os
from typing import TYPE_CHECKING, Any

import structlog

from relay.blueprint import Blueprint, with_allowlist, with_policies
from relay.errors import ConfigurationError
from relay.material import additions_of, read_allowlist, read_text
from relay.policy_files import load_policies
from relay.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.pki.allowlist import Allowlist

__all__ = ["LiveFiles", "trust_orders"]

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
        blueprint: Blueprint,
        order: Callable[[dict[str, object]], None],
        put_on_record: Callable[..., None],
    ) -> None:
        self.blueprint = blueprint
        """For workers to come: it holds what the files say now."""
        self._order = order
        self._put_on_record = put_on_record
        self._allowlist = FileWatch([blueprint.material.settings.allowlist])
        self._policies = FileWatch(blueprint.material.policies.paths())

    def of(self, blueprint: Blueprint) -> LiveFiles:
        """Look at the files of another configuration, which was read after these were looked at."""
        files = LiveFiles(blueprint, self._order, self._put_on_record)
        material = blueprint.material
        files._allowlist = self._allowlist.of([material.settings.allowlist])
        files._policies = self._policies.of(material.policies.paths())
        return files

    def look(self) -> None:
        """Hand out what has changed on disk."""
        if self._allowlist.has_changed():
            self._hand_out_allowlist()
        elif self._policies.has_changed():
            self._hand_out_policies(self.blueprint.material.allowlist)

    def _hand_out_allowlist(self) -> None:
        path = self.blueprint.material.settings.allowlist
        self._allowlist = FileWatch([path])
        try:
            text, allowlist = read_allowlist(path)
        except ConfigurationError as error:
            log.error("allowlist refused, the old one stays in force", error=str(error))
            return
        known = self.blueprint.material.policies.additions
        if not additions_of(allowlist) <= known and not self._hand_out_policies(allowlist):
            return
        log.info("allowlist changed", identities=len(allowlist.identities))
        self._put_on_record("allowlist.reload", target=os.fspath(path))
        self.blueprint = with_allowlist(self.blueprint, allowlist)
        self._order({"order": "allowlist", "text": text, "path": os.fspath(path)})

    def _hand_out_policies(self, allowlist: Allowlist) -> bool:
        """Give workers the rules and lists as they are now; with mistakes, the old ones stay, and False."""
        policies = self.blueprint.material.policies
        self._policies = FileWatch(policies.paths())
        try:
            policies = load_policies(policies.stacks, read_text, additions_of(allowlist))
        except ConfigurationError as error:
            mistakes = [str(mistake) for mistake in (error, *error.others)]
            log.error("policy refused, the old one stays in force", mistakes=mistakes)
            return False
        if policies.texts.keys() != self.blueprint.material.policies.texts.keys():
            self._policies = self._policies.of(policies.paths())
        log.info("policy changed", files=len(policies.texts))
        self._put_on_record("policy.reload")
        self.blueprint = with_policies(self.blueprint, policies)
        additions = sorted(policies.additions)
        self._order({"order": "policies", "texts": policies.texts, "additions": additions})
        return True


def trust_orders(blueprint: Blueprint) -> Iterator[dict[str, Any]]:
    """Whom to trust as of now, for workers of an older configuration; not an allowlist with mistakes."""
    yield {
        "order": "anchors",
        "anchors": {
            name: [base64.b64encode(each.der).decode() for each in listener.anchors]
            for name, listener in blueprint.material.listeners.items()
        },
    }
    path = blueprint.material.settings.allowlist
    with contextlib.suppress(ConfigurationError):  # changed again: that will be noticed
        text, _ = read_allowlist(path)
        yield {"order": "allowlist", "text": text, "path": os.fspath(path)}
