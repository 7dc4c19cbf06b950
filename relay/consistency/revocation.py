"""Lists and responders that cannot be asked, or that nothing would come of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mistakes import Mistake
from relay.pki.revocation_urls import problem_of
from relay.settings.revocation import RevocationAuthority

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.settings import Settings
    from relay.toml_lines import KeyPath

__all__ = ["check_revocation"]


def check_revocation(settings: Settings) -> Iterator[Mistake]:
    """Look at `[revocation]` and what it says of single CAs."""
    sources = settings.revocation.sources
    if len(set(sources)) < len(sources):
        yield Mistake(
            ("revocation", "sources"),
            "`sources` names one of them twice",
            'write it as ["crl", "ocsp"]',
        )
    for position, authority in enumerate(settings.revocation.authority):
        key = ("revocation", "authority", position)
        yield from _check_urls(
            (*key, "crl_urls"), authority.crl_urls, settings, "http://ca.example.org/root.crl"
        )
        yield from _check_urls(
            (*key, "ocsp_urls"), authority.ocsp_urls, settings, "http://ocsp.example.org"
        )
        if authority.ocsp_urls and "ocsp" not in sources:
            yield Mistake(
                (*key, "ocsp_urls"),
                "`ocsp_urls` say nothing without `ocsp` in `revocation.sources`",
                "leave them out, or add it",
            )
        if authority == RevocationAuthority(certificate=authority.certificate):
            yield Mistake(
                key,
                "this `[[revocation.authority]]` says nothing about its CA",
                "add `mode`, `crl_files`, `crl_urls` or `ocsp_urls`, or leave it out",
            )


def _check_urls(
    key: KeyPath, urls: Sequence[str], settings: Settings, example: str
) -> Iterator[Mistake]:
    name = key[-1]
    for number, url in enumerate(urls):
        if problem := problem_of(url):
            yield Mistake(
                (*key, number), f'`{name}`: "{url}": {problem}', f'write it as "{example}"'
            )
    if urls and not settings.revocation.fetch:
        yield Mistake(
            key,
            f"`{name}` say nothing with `revocation.fetch = false`",
            "leave one of the two out",
        )
