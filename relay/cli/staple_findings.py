"""What is worth saying about stapling: certificates that clients want an answer beside, and that get none.

Reads the configuration and its files only; whether a responder answers is seen at work. RFC 6066 8, RFC 7633.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli.finding import Finding
from relay.revocation.stapling import Presented, demands_staple, find_presented

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.config import Configuration
    from relay.material import Material

__all__ = ["find_unstapled"]


def find_unstapled(configuration: Configuration, material: Material) -> Iterator[Finding]:
    """Say which certificates of listeners cannot be stapled, although they name a responder or demand it."""
    for presented in find_presented(material):
        _, position, _, number = presented.key
        listener = configuration.settings.listener[int(position)]
        path = listener.certificate[int(number)].chain
        is_demanded = demands_staple(presented.certificate)
        has_fetch = configuration.settings.revocation.fetch
        found = _fault_of(presented, path, has_fetch=has_fetch)
        if found is None or not (is_demanded or (presented.urls and has_fetch)):
            continue
        problem, remedy = found
        if is_demanded:
            problem += ": clients will refuse it, for it demands one (RFC 7633)"
        is_fatal = is_demanded and listener.must_staple == "refuse"
        place = str(configuration.origin(*presented.key, "chain"))
        yield Finding("error" if is_fatal else "warning", place, problem, remedy)


def _fault_of(presented: Presented, path: Path, *, has_fetch: bool) -> tuple[str, str] | None:
    """Say why no answer can be stapled, and what helps; None if one can."""
    if not presented.urls:
        return (
            f"no OCSP answer can be stapled to {path}, it names no responder",
            "get one without the TLS feature, or give `ocsp_urls` in a `[[revocation.authority]]`",
        )
    if presented.issuer is None:
        return (
            f"no OCSP answer can be stapled to {path}, its CA's certificate is not in it",
            "append the CA's certificate, or name it in a `[[revocation.authority]]`",
        )
    if not has_fetch:
        return (
            f"no OCSP answer is stapled to {path} with `revocation.fetch` = false",
            "set it to true",
        )
    return None
