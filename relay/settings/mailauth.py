"""What we sign, what we tell of what was found out, and what we watch. The field docstrings are the manual.

The tables `[authentication_results]`, `[dkim]`, `[dmarc_reports]` and `[doctor]`; what mail of others
must be like is the checks' matter.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.settings.table import Table
from relay.settings.values import Duration, Size

__all__ = ["AuthenticationResults", "Dkim", "DkimKey", "DmarcReports", "Doctor"]


class AuthenticationResults(Table):
    """The header field that tells those behind the relay what it has found out of a message (RFC 8601)."""

    enabled: bool = True
    """Whether it is written. Those that come in under a name of ours are taken out in any case."""

    authserv_id: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,252})?$")
    """The name it is written under: one for all servers of yours, so that those behind them know it.
    Empty: `hostname`."""

    own_ids: tuple[str, ...] = ()
    """More names that only servers of yours write under, those behind the relay say: fields that come in
    under one of them are taken out, too."""


class DkimKey(Table):
    """A key that we sign with (DKIM, RFC 6376). `gatepost dkim new` makes one and writes this."""

    domain: str
    """The domain that signs: d=. Its keys with `use = ["author"]` sign mail whose From is of this domain, and
    of no subdomain."""

    selector: str
    """The name of the key below `_domainkey.` of the domain: s=."""

    key: Path
    """PEM file with the private key, RSA or Ed25519, unencrypted, readable by nobody else (mode 0600)."""

    use: tuple[Literal["author", "identity", "seal"], ...] = Field(
        default=("author",), min_length=1
    )
    """`author`: signs mail of the domain, if the identity that sends it may send as its author: `senders` says
    so by name. `identity`: signs the field that says who sent a message, on all mail, so that the next hop
    can verify it. `seal`: seals (ARC). All keys of a domain and use sign, an RSA and an Ed25519 key, say;
    of those to seal the first RSA key does."""

    state: Literal["next", "active", "retired"] = "active"
    """`next`: made, and to be published; it does not sign yet. `retired`: it signs no more, and its record
    stays until all that it has signed has arrived."""


class Dkim(Table):
    """What we sign, and with which keys. See [signing](dkim.md)."""

    folder: Path = Path("dkim")
    """Where `gatepost dkim new` puts keys."""

    lifetime: Duration = timedelta(0)
    """How long a signature holds (x=); 0: without end. Mail may be under way for five days."""

    key: tuple[DkimKey, ...] = ()
    """The keys."""


class DmarcReports(Table):
    """Aggregate reports for domains that ask for them in their DMARC record (RFC 9990), sent once a day.

    Messages count of which rules have asked DMARC. The mail goes by `[route]`; keys of `[[dkim.key]]` for the
    sender's domain sign it.
    """

    enabled: bool = False
    """Whether domains are told what was seen of mail in their name."""

    sender: str = Field(default="", pattern=r"^([A-Za-z0-9._+-]+@[A-Za-z0-9._-]+)?$")
    """Who sends them, envelope and From, and whom to write to about them: `"dmarc@example.org"`."""

    max_bytes: Size = 10 * 1024**2
    """The largest report, as mail; a domain may ask for less."""


class Doctor(Table):
    """Domains that are examined from time to time, as `gatepost check domain` does.

    What has changed goes to the audit trail (`kind` is `domain`), the number of problems to the metrics.
    """

    domains: tuple[str, ...] = ()
    """Whose: `["example.org"]`. None: nothing is examined."""

    every: Duration = timedelta(days=1)
    """How often."""

    dkim_keys: tuple[str, ...] = ()
    """Keys of others that must be published, as `["google._domainkey.example.org"]`; our own active ones must anyway."""

    mail_to: str = ""
    """Who gets a mail when problems come or go, by `[route]`; empty: nobody."""

    sender: str = ""
    """From whom; empty: postmaster at our `hostname`. A `[[dkim.key]]` of its domain with `use = ["author"]` signs."""

    webhook: str = ""
    """An address that gets the same as JSON by POST; empty: none."""

    allow_private_addresses: bool = False
    """Whether to call on private and loopback addresses: for a webhook in your own network."""
