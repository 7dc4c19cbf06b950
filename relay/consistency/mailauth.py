"""Keys that nobody could find, reports without a sender, and what is to be watched and is no domain.

Pure: reads no key and asks no name server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mistakes import Mistake
from relay.pki.patterns import canonical_domain
from relay.pki.revocation_urls import problem_of
from relay.settings.values import is_host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings.mailauth import Dkim, DmarcReports, Doctor

__all__ = ["check_dkim", "check_dmarc_reports", "check_doctor"]


def check_dmarc_reports(reports: DmarcReports) -> Iterator[Mistake]:
    """Look at `[dmarc_reports]`."""
    if reports.enabled and not reports.sender:
        yield Mistake(
            ("dmarc_reports", "enabled"),
            "reports need somebody who sends them",
            'add `sender = "dmarc@example.org"` with a mailbox of yours',
        )


def check_dkim(dkim: Dkim) -> Iterator[Mistake]:
    """Look at `[dkim]` and its keys."""
    seen: set[tuple[str, str]] = set()
    for position, each in enumerate(dkim.key):
        key = ("dkim", "key", position)
        if not is_host_name(each.domain):
            yield Mistake(
                (*key, "domain"),
                f'`dkim.key`: "{each.domain}" is no domain',
                'write the domain that signs, as "example.org"',
            )
        # RFC 6376 3.1: labels as in a domain, one or more
        if not (each.selector.isascii() and is_host_name(f"{each.selector}.x")):
            yield Mistake(
                (*key, "selector"),
                f'`dkim.key`: "{each.selector}" is no selector',
                'use letters, digits and hyphens, as "g1-2027"',
            )
        name = (canonical_domain(each.domain), each.selector.lower())
        if name in seen:
            yield Mistake(
                (*key, "selector"),
                f'two keys are "{each.selector}" of {each.domain}',
                "give each its own selector",
            )
        seen.add(name)


def check_doctor(doctor: Doctor) -> Iterator[Mistake]:
    """Look at `[doctor]`."""
    for position, domain in enumerate(doctor.domains):
        if not is_host_name(domain):
            remedy = 'write it as "example.org"'
            yield Mistake(
                ("doctor", "domains", position),
                f'`doctor.domains`: "{domain}" is no domain',
                remedy,
            )
    for position, name in enumerate(doctor.dkim_keys):
        selector, has_both, domain = name.partition("._domainkey.")
        if not (selector and has_both and is_host_name(domain)):
            remedy = 'write it as "s1._domainkey.example.org"'
            yield Mistake(
                ("doctor", "dkim_keys", position), f'`doctor.dkim_keys`: "{name}" is no key', remedy
            )
    for key in ("mail_to", "sender"):
        text = getattr(doctor, key)
        local, _, domain = text.rpartition("@")
        if text and not (local and is_host_name(domain)):
            remedy = 'write it as "postmaster@example.org"'
            yield Mistake(("doctor", key), f'`doctor.{key}`: "{text}" is no address', remedy)
    if doctor.webhook and (problem := problem_of(doctor.webhook)):
        yield Mistake(
            ("doctor", "webhook"),
            f'`doctor.webhook`: "{doctor.webhook}": {problem}',
            'write it as "https://alerts.example.org/gatepost"',
        )
