"""Does a certificate vouch for the name of a server?

Only alternative names count, never a CN. A wildcard stands for one whole label, the first, and not directly
below a top-level domain; an address must be there as an address. Knows nothing of who asks. RFC 9525 6.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from relay.pki.names import canonical_dns

if TYPE_CHECKING:
    from relay.pki.certificate import Certificate

__all__ = ["is_name_of_server", "vouches_for_server"]

_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")  # fmt: skip


def is_name_of_server(name: str) -> bool:
    """Whether any certificate can have it."""
    return _address(name) != "" or _HOST.fullmatch(canonical_dns(name)) is not None


def vouches_for_server(certificate: Certificate, name: str) -> bool:
    """Whether one of its names is this one. Raises MalformedCertificate."""
    if address := _address(name):
        return f"ip:{address}" in certificate.names  # RFC 9525 6.5: an address needs an IP-ID
    wanted = canonical_dns(name)
    if not _HOST.fullmatch(wanted):
        return False
    parent = wanted.partition(".")[2]
    accepted = {f"dns:{wanted}"}
    if "." in parent:
        accepted.add(f"dns:*.{parent}")  # RFC 9525 6.3
    return not accepted.isdisjoint(certificate.names)


def _address(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return ""
