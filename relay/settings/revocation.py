"""Lists and OCSP: `[revocation]`. The field docstrings are the manual.

What an outcome means for a client says its listener.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.settings.table import Table
from relay.settings.values import Duration, Size

__all__ = ["Revocation", "RevocationAuthority"]


class RevocationAuthority(Table):
    """Where the lists of one CA are, besides what its certificates say, and how strictly they count."""

    certificate: Path
    """PEM file of the CA that signs the lists: one of `client_ca`, or an intermediate below one."""

    mode: Literal["hard", "soft", "off"] | None = None
    """For all certificates that lead to this CA as their anchor; left out: as the listener says."""

    crl_files: tuple[Path, ...] = ()
    """Its lists as files, PEM or DER, complete or delta; read again when they change."""

    crl_urls: tuple[str, ...] = ()
    """Its lists as `http://` or `https://` addresses."""

    ocsp_urls: tuple[str, ...] = ()
    """OCSP responders for the certificates it has issued, asked before those that the certificates name."""


class Revocation(Table):
    """Revocation lists and OCSP: who is asked, where, how often, how long.

    What has been learnt is kept in `state_dir`, so that a restart needs no network. Lists are fetched from where the certificates of known clients say (CRL distribution points), once
    such a client has come, and from what `[[revocation.authority]]` adds; OCSP responders are asked about
    known clients in the same way. How strictly the outcome counts is the listener's `revocation`.
    """

    sources: tuple[Literal["crl", "ocsp"], ...] = Field(default=("crl", "ocsp"), min_length=1)
    """Who is asked, in this order; the second only where the first does not know."""

    fetch: bool = True
    """Whether to fetch lists and to ask responders at all; without, only `crl_files` count."""

    timeout: Duration = timedelta(seconds=60)
    """For one list, from the name look-up to the last byte."""

    ocsp_timeout: Duration = timedelta(seconds=5)
    """For the answer about one certificate, from all its responders together. A client of whose certificate
    nothing is known yet waits so long at most, once."""

    ocsp_nonce: Literal["off", "offer", "require"] = "off"
    """`offer` sends a nonce, `require` takes no answer without it. Most responders make their answers in
    advance and have none; then an answer counts until its nextUpdate."""

    ocsp_clock_skew: Duration = timedelta(minutes=5)
    """How far apart a responder's clock and ours may be."""

    max_crl_bytes: Size = 128 * 1024**2
    """Largest list; one of a million entries has 44 MB."""

    grace: Duration = timedelta(hours=1)
    """How long a list still counts after its nextUpdate: CAs publish late."""

    refresh: Duration = timedelta(hours=1)
    """How often to look for a newer list or answer at the longest; the nearer nextUpdate, the more often.
    An OCSP answer without nextUpdate counts so long."""

    retry: Duration = timedelta(seconds=10)
    """How long to wait after a failure; the wait doubles with each, up to `refresh`."""

    allow_private_addresses: bool = False
    """Whether to fetch from private, loopback and link-local addresses: needed for a CA of your own
    in your own network. Otherwise a certificate could make the relay call on inside services."""

    authority: tuple[RevocationAuthority, ...] = ()
    """CAs of which there is more to say."""
