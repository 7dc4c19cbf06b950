"""Addresses, names and values of SMTP commands as text, by the ABNF of the RFCs (RFC 5321 4.1).

One regular expression per rule, the rule above it. It knows nothing of commands or replies: what
does not fit the grammar is None. Text comes decoded; letters beyond ASCII are allowed everywhere
RFC 6531 3.3 allows them, and it is for the caller to ask whether SMTPUTF8 was agreed on.

All repetitions are possessive (`++`, `*+`), those of groups by an atomic group, `(?>...)`: no input
makes a match take more than linear time. A possessive group says the same, but Python before 3.11.5 takes
half a repetition for a whole one: the local part `a.` for a Dot-string (CPython issue 106052).
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from relay.model import Address

__all__ = [
    "ENVID",
    "NOTIFY",
    "ORCPT",
    "Path",
    "is_hello_name",
    "is_literal",
    "parse_parameters",
    "read_path",
]

MAX_LOCAL_BYTES: Final = 64  # RFC 5321 4.5.3.1.1
MAX_DOMAIN_BYTES: Final = 255  # RFC 5321 4.5.3.1.2
MAX_PATH_BYTES: Final = 256  # RFC 5321 4.5.3.1.3, with the angle brackets
MAX_LABEL_BYTES: Final = 63  # RFC 1035 2.3.4

# RFC 6531 3.3: UTF8-non-ascii joins atext, qtextSMTP and sub-domain. C1 controls are left out, and
# so are the two separators that many programs take for a line end, and surrogates, which stand for
# bytes that are no UTF-8.
_NON_ASCII = r"\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"

# Local-part = Dot-string / Quoted-string; Dot-string = Atom *("." Atom)
_ATOM = rf"[A-Za-z0-9!#$%&'*+\-/=?^_`{{|}}~{_NON_ASCII}]++"
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE; qtextSMTP = %d32-33 / %d35-91 / %d93-126
# quoted-pairSMTP = %d92 %d32-126
_QUOTED = rf'"(?>(?:[ !#-\[\]-~{_NON_ASCII}]|\\[ -~])*)"'
_LOCAL = rf"{_ATOM}(?>(?:\.{_ATOM})*)|{_QUOTED}"

# Domain = sub-domain *("." sub-domain); sub-domain = Let-dig [Ldh-str] / U-label
# More lenient than the RFC: "_" is let through, since hosts with such names do send mail.
_LABEL = rf"(?!-)[A-Za-z0-9_\-{_NON_ASCII}]{{1,63}}+(?<!-)"
_DOMAIN = rf"{_LABEL}(?>(?:\.{_LABEL})*)"
# address-literal = "[" ( IPv4 / IPv6 / General ) "]"; dcontent = %d33-90 / %d94-126
_LITERAL = r"\[[!-Z^-~]++\]"

# Path = "<" [ A-d-l ":" ] Mailbox ">"; A-d-l = At-domain *( "," At-domain )
_ROUTE = rf"@{_DOMAIN}(?>(?:,@{_DOMAIN})*):"
_PATH = re.compile(rf"<(?:{_ROUTE})?({_LOCAL})@({_DOMAIN}|{_LITERAL})>")

# esmtp-param = esmtp-keyword ["=" esmtp-value]; esmtp-value = 1*(%d33-60 / %d62-126)
_PARAMETER = re.compile(rf"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~{_NON_ASCII}]++))?")

# xtext = *( xchar / hexchar ); xchar = %d33-42 / %d44-60 / %d62-126; hexchar = "+" 2(HEXDIG)
_XTEXT_CHARACTER = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
ENVID: Final = re.compile(rf"(?=.{{1,100}}\Z)(?>(?:{_XTEXT_CHARACTER})+)")  # RFC 3461 4.4
# RFC 3461 4.2: addr-type ";" xtext; RFC 6533 3: with SMTPUTF8 the address may stand there as it is.
ORCPT: Final = re.compile(
    rf"(?=.{{3,500}}\Z)[A-Za-z0-9-]++;(?>(?:{_XTEXT_CHARACTER}|[{_NON_ASCII}])+)"
)
# RFC 3461 4.1: "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )
NOTIFY: Final = re.compile(
    r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?>(?:,(?:SUCCESS|FAILURE|DELAY)){0,2})", re.IGNORECASE
)

_ASCII_DOMAIN = re.compile(
    r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)(?>(?:\.(?!-)[A-Za-z0-9-]{1,63}+(?<!-))*)"
)
# General-address-literal = Standardized-tag ":" 1*dcontent; Standardized-tag = Ldh-str
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")


Path = tuple[Address, int]
"""A path found in a text: its mailbox, and where the text goes on behind the bracket."""


def read_path(text: str, start: int) -> Path | None:
    """Read the path with a mailbox that stands at `start`; None if there is none.

    A source route is skipped, as RFC 5321 appendix C asks.
    """
    found = _PATH.match(text, start)
    if found is None:
        return None
    local, domain = found.groups()
    is_ascii = text.isascii()
    if domain[0] == "[":
        if not is_literal(domain):
            return None
    elif not is_ascii and not _is_international_domain(domain):
        return None
    size = len if is_ascii else _encoded_size
    if (
        size(local) > MAX_LOCAL_BYTES
        or size(domain) > MAX_DOMAIN_BYTES
        or size(found[0]) > MAX_PATH_BYTES
    ):
        return None
    return Address(local, domain), found.end()


def _encoded_size(text: str) -> int:
    return len(text.encode())


def _is_international_domain(domain: str) -> bool:
    return all(label.isascii() or _is_u_label(label) for label in domain.split("."))


def _is_u_label(label: str) -> bool:
    """Whether a label with non-ASCII letters can be a U-label (RFC 5890 2.3.2.1, RFC 5892 2).

    Letters, marks and digits in their canonical spelling, short enough as an A-label. A spelling
    that merely looks like another name (full-width letters, foreign dots) is none.
    """
    if unicodedata.normalize("NFKC", label) != label:
        return False
    if any(unicodedata.category(c)[0] not in "LMN" and c not in "-\u200c\u200d" for c in label):
        return False
    return len("xn--") + len(label.encode("punycode")) <= MAX_LABEL_BYTES


def is_literal(text: str) -> bool:
    """Whether the text is an address literal, brackets included (RFC 5321 4.1.3)."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    inner = text[1:-1]
    try:
        if inner[:5].upper() == "IPV6:":
            # A scope id is Python's idea, not the RFC's.
            return IPv6Address(inner[5:]) is not None and "%" not in inner
        if ":" not in inner:
            return IPv4Address(inner) is not None
    except AddressValueError:
        return False
    return _GENERAL_LITERAL.fullmatch(inner) is not None


def is_hello_name(text: str) -> bool:
    """Whether the text may stand behind EHLO: a Domain or an address literal (RFC 5321 4.1.1.1)."""
    if _ASCII_DOMAIN.fullmatch(text) is not None:
        return len(text) <= MAX_DOMAIN_BYTES
    return is_literal(text)


def parse_parameters(text: str) -> dict[str, str] | None:
    """Read what follows a path: keywords in upper case, "" for one without a value.

    None: not well-formed, or a keyword stands there twice (RFC 5321 4.1.1.11).
    """
    if not text:
        return {}
    if text[0] != " ":
        return None
    parameters: dict[str, str] = {}
    for word in filter(None, text.split(" ")):
        found = _PARAMETER.fullmatch(word)
        if found is None:
            return None
        keyword = found[1].upper()
        if keyword in parameters:
            return None
        parameters[keyword] = found[2] or ""
    return parameters
