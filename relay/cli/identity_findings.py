"""What is worth saying about the allowlist: identities that nobody looks after, or that may do anything.

Each kind of thing is one finding, whoever many it is about. Who has come is `posture_findings.py`'s to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli.finding import Finding
from relay.pki.posture import Kind, flaws_of_identity
from relay.toml_lines import index_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from relay.config import Configuration
    from relay.model import Identity

__all__ = ["find_identities"]


def find_identities(
    configuration: Configuration, identities: Sequence[Identity], now: datetime
) -> Iterator[Finding]:
    """Say what is wrong with identities, each kind of it once, at the first of them."""
    settings = configuration.settings
    asking = [each for each in settings.listener if each.client_certificate != "off"]
    if asking and not identities:
        place = str(configuration.origin("allowlist"))
        yield Finding(
            "warning", place, "the allowlist is empty: nobody is known", "gatepost pin add"
        )
    elif identities:
        noun = "identity" if len(identities) == 1 else "identities"
        yield Finding("ok", str(settings.allowlist), f"{len(identities)} {noun}")
    knows_names = any(each.client_ca for each in asking)
    places = _places(settings.allowlist, identities)
    for problem, remedy, affected in (
        (
            "no contact",
            'add contact = "postmaster@..."',
            [each for each in identities if not each.contact],
        ),
        (
            "no limit to its senders",
            'add senders = ["@its-domain"]',
            [each for each in identities if each.senders is None or "*" in each.senders],
        ),
        (
            "ends soon",
            "renew its not_after",
            _with_flaw(Kind.IDENTITY_ENDING, identities, now),
        ),
        (
            "has ended",
            "renew its not_after, or remove it",
            _with_flaw(Kind.IDENTITY_ENDED, identities, now),
        ),
        (
            "known by name only, and no listener has a `client_ca`",
            "add `client_ca` to a listener, or pins to the identity",
            [] if knows_names else [each for each in identities if not each.pins],
        ),
    ):
        if affected:
            first, others = affected[0], len(affected) - 1
            more = f" (and {others} more)" if others else ""
            yield Finding("warning", places[first.name], f'"{first.name}"{more}: {problem}', remedy)


def _places(allowlist: Path, identities: Sequence[Identity]) -> dict[str, str]:
    lines = index_lines(allowlist.read_text(encoding="utf-8"))
    return {
        identity.name: f"{allowlist}:{lines['identity', position]}"
        for position, identity in enumerate(identities)
    }


def _with_flaw(kind: Kind, identities: Sequence[Identity], now: datetime) -> list[Identity]:
    return [
        each
        for each in identities
        if any(flaw.kind is kind for flaw in flaws_of_identity(each, now))
    ]
