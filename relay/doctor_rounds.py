"""Goes round the domains of `[doctor]`, remembers what it found, and tells what has changed.

What is wrong with a domain says `doctor`; here is who hears of it: the audit trail, the metrics, and those
whom the operator named. An alert goes out when problems come or go, once, and with the next round where it
can't be delivered; a domain that cannot be examined for now keeps the problems that it had.
"""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.errors import Unavailable
from relay.key_files import replace_file
from relay.mailauth.signing import signed_by
from relay.model import Address, Envelope, Recipient, Sender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from relay.doctor import Examination
    from relay.mailauth.keyring import Keyring
    from relay.ports import AuditSink, Clock, NextHop
    from relay.settings import Settings

__all__ = ["Change", "Memory", "Rounds", "alert_by_mail", "alert_by_webhook"]


_MAX_UNTOLD: Final = 1000
"""Changes that wait for an alert that can't be delivered."""


class Change(NamedTuple):
    """What is new about a domain: problems that have come, problems that have gone."""

    domain: str
    problems: tuple[str, ...]
    cleared: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"+ {each}" for each in self.problems] + [f"- {each}" for each in self.cleared]
        return "\n".join((f"{self.domain}:", *lines))


class Memory:
    """What was found of each domain the last time, in a file; one that can't be read is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._problems: dict[str, list[str]] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            self._problems = {}

    def compare(self, domain: str, problems: Sequence[str]) -> Change:
        """Say what has changed. It is remembered only by `keep`, so that who is to hear of it hears of it."""
        before = self._problems.get(domain, [])
        come = tuple(each for each in problems if each not in before)
        gone = tuple(each for each in before if each not in problems)
        return Change(domain, come, gone)

    def keep(self, domain: str, problems: Sequence[str]) -> None:
        """Remember. Raises OSError."""
        self._problems[domain] = list(problems)
        replace_file(self._path, json.dumps(self._problems).encode())


class Rounds:
    """One visit after the other.

    Args:
        examine: finds out about a domain.
        memory: what was found before.
        audit: where changes and failures are put on record.
        tell: takes how many problems a domain has, for the metrics.
        alerts: who is told of changes; each raises Unavailable where that is not possible now.
    """

    def __init__(
        self,
        examine: Callable[[str], Awaitable[Examination]],
        memory: Memory,
        audit: AuditSink,
        tell: Callable[[str, int], None],
        alerts: Sequence[Callable[[Sequence[Change]], Awaitable[None]]],
    ) -> None:
        self._examine = examine
        self._memory = memory
        self._audit = audit
        self._tell = tell
        self._alerts = tuple(alerts)
        self._untold: list[Sequence[Change]] = [()] * len(self._alerts)

    async def visit(self, domains: Sequence[str]) -> list[str]:
        """Examine domains, one after the other; return what went wrong with the telling, a line each."""
        changes: list[Change] = []
        found: dict[str, tuple[str, ...]] = {}
        for domain in domains:
            examination = await self._examine(domain)
            if examination.failure:
                self._record(domain, {"problems": list(examination.problems)})
                continue
            found[domain] = examination.problems
            self._tell(domain, len(examination.problems))
            change = self._memory.compare(domain, examination.problems)
            if change.problems or change.cleared:
                changes.append(change)
                told = {"problems": list(change.problems), "cleared": list(change.cleared)}
                self._record(domain, {name: each for name, each in told.items() if each})
        mistakes = await self._alert(changes)
        for domain, problems in found.items():
            self._memory.keep(domain, problems)
        return mistakes

    async def _alert(self, changes: Sequence[Change]) -> list[str]:
        """Tell what is new, and what could not be told before."""
        mistakes = []
        for position, alert in enumerate(self._alerts):
            due = (*self._untold[position], *changes)[-_MAX_UNTOLD:]
            try:
                if due:
                    await alert(due)
                self._untold[position] = ()
            except Unavailable as error:
                self._untold[position] = due
                mistakes.append(str(error))
        return mistakes

    def _record(self, domain: str, fields: Mapping[str, object]) -> None:
        self._audit.record("domain", {"domain": domain, **fields})


def alert_by_webhook(
    post: Callable[[str, bytes, str], Awaitable[Any]], url: str, node: str
) -> Callable[[Sequence[Change]], Awaitable[None]]:
    """Return an alert that posts JSON: `{"node": ..., "changes": [{"domain", "problems", "cleared"}]}`."""

    async def alert(changes: Sequence[Change]) -> None:
        body = {"node": node, "changes": [each._asdict() for each in changes]}
        await post(url, json.dumps(body).encode(), "application/json")

    return alert


def alert_by_mail(
    next_hop: NextHop, settings: Settings, clock: Clock, keyring: Keyring
) -> Callable[[Sequence[Change]], Awaitable[None]]:
    """Return an alert that goes the way of all mail, by `[route]`, signed where there is a key of its sender's domain."""
    sender, recipient = (
        _address(text)
        for text in (
            settings.doctor.sender or f"postmaster@{settings.hostname}",
            settings.doctor.mail_to,
        )
    )

    keys = keyring.of_author(sender.domain)

    async def alert(changes: Sequence[Change]) -> None:
        route = next_hop.route_for(recipient, identified=True)
        if route is None:
            raise Unavailable(f"no route leads to {recipient}")
        envelope = Envelope(Sender(sender), [Recipient(recipient)])
        plain = _message(changes, sender, recipient, settings.hostname, clock)
        message = signed_by(keys, plain, clock.now(), keyring.lifetime)
        delivery = await next_hop.deliver(route, envelope, [message], {})
        if not delivery.accepted:
            raise Unavailable(f"{recipient}: {delivery.reply}")

    return alert


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def _message(
    changes: Sequence[Change], sender: Address, recipient: Address, hostname: str, clock: Clock
) -> bytes:
    made = EmailMessage(policy=SMTP)
    made["From"] = str(sender)
    made["To"] = str(recipient)
    made["Subject"] = f"Mail domains: {', '.join(each.domain for each in changes)}"
    made["Date"] = clock.now()
    made["Message-ID"] = f"<{clock.reference()}@{hostname}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: nobody should answer
    made.set_content("\n\n".join(map(str, changes)) + "\n\n+ has come, - has gone\n")
    return made.as_bytes()
