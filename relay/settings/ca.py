"""Our own CA: `[ca]`, and `[est]`, where partners enrol. The field docstrings are the manual.

Knows nothing of other CAs: `revocation.py` does.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from relay.settings.table import CertificateFiles, Table
from relay.settings.values import Duration

__all__ = ["Ca", "Est"]


class Ca(Table):
    """Our own CA: where its files are, and where the world finds what it publishes."""

    folder: Path = Path("ca")
    """The CA's folder, as `gatepost ca init` makes it."""

    url: str = Field(default="", pattern=r"^(https?://[^\s/]+(/\S*)?)?$")
    """Where the world finds `crl.der` and `root-crl.der`, as `"http://ca.example.org"`: each certificate then
    says where its list is and, if the relay answers at `address`, that OCSP is asked at `/ocsp` below it.
    Empty: it says neither."""

    address: str = ""
    """Where the relay publishes the lists and answers OCSP, in plain HTTP, for both are signed: `"0.0.0.0:80"`. It
    makes new lists in time, if it can read the key of the issuing CA. Empty: nowhere; a web server of
    yours may publish what `gatepost ca crl` makes."""


class Est(Table):
    """Enrolment over the wire (EST, RFC 7030): partners get and renew certificates of our CA by themselves."""

    address: str = ""
    """Where to listen, with TLS: `"0.0.0.0:8443"`. Empty: nobody enrols."""

    certificate: CertificateFiles | None = None
    """Our certificate there; the names in it are those that partners ask for."""

    lifetime: Duration = timedelta(days=90)
    """How long a certificate holds at most that is renewed there, and one by invitation if that says nothing else."""
