"""Host names as lists of domains know them: the registered domain, and names in ASCII.

Which names can be registered below a suffix stands nowhere in the DNS, and the list that browsers
keep of them is old the day it is shipped. A rule of thumb does here: a list may be asked for one
name too many at no harm, so it is asked for two (`list_names`). RFC 5890 2.3.2.1: A-labels.
"""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["ascii_host", "list_names", "registered_domain"]

# Second-level names below which country registries register.
_REGISTRY_LABELS: Final = frozenset(
    {
        "ac", "asn", "asso", "biz", "co", "com", "csiro", "ed", "edu", "firm", "gen", "go", "gob",
        "gouv", "gov", "govt", "gr", "gub", "id", "ind", "inf", "info", "jus", "ltd", "me", "mil",
        "mod", "muni", "name", "ne", "net", "nhs", "nic", "nom", "on", "or", "org", "plc", "police",
        "press", "sch", "school", "tm", "web",
    }
)  # fmt: skip
_MAX_HOST_CHARACTERS: Final = 253  # RFC 1035 2.3.4
_MAX_LABEL_CHARACTERS: Final = 63


def registered_domain(host: str) -> str:
    """Return the part of a host name that somebody has registered, as far as one can tell.

    `www.shop.example.com` is of `example.com`, `www.example.co.uk` of `example.co.uk`.
    """
    labels = host.split(".")
    is_country = len(labels[-1]) == 2 or labels[-1].startswith("xn--")
    length = 3 if len(labels) > 2 and is_country and labels[-2] in _REGISTRY_LABELS else 2
    return ".".join(labels[-length:])


def list_names(host: str) -> tuple[str, ...]:
    """Return the names under which a list of domains may know a host: the registered, and one below.

    The second is for those who let others have names below their own (`evil.blogs.example`).
    """
    registered = registered_domain(host)
    if registered == host:
        return (host,)
    below = host.removesuffix(f".{registered}").rpartition(".")[2]
    return registered, f"{below}.{registered}"


def ascii_host(host: str) -> str:
    """Return a host name in lower case with A-labels, no final dot; "" if it can't be a name."""
    host = host.lower().removesuffix(".")
    if not host.isascii():
        # As browsers do (UTS 46): full-width letters and the dots of other scripts are plain ones.
        host = unicodedata.normalize("NFKC", host).lower().replace("\u3002", ".")
        if not host.isprintable():
            return ""
        host = ".".join(_a_label(label) for label in host.split("."))
    labels = host.split(".")
    if len(host) > _MAX_HOST_CHARACTERS or not all(
        0 < len(label) <= _MAX_LABEL_CHARACTERS for label in labels
    ):
        return ""
    return host


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    return "xn--" + label.encode("punycode").decode("ascii")
