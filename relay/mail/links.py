"""Where the links in a message lead: the hosts, and texts that show another one.

Read as mail readers and browsers do, so that what a person can click is seen: entities, per cents,
backslashes, user names before the host, addresses in odd spellings. It decides nothing, asks nobody,
never raises, and its expressions take time linear in the text. RFC 3986 3.2; HTML and URL as the
WHATWG describes them.
"""

from __future__ import annotations

import html
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from relay.mail import mime
from relay.mail.charsets import decode
from relay.mail.domains import ascii_host, registered_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.mail.mime import Structure

__all__ = ["Links", "links_of"]

MAX_TEXT_BYTES: Final = 256 * 1024
"""How much of one part is read."""
MAX_TEXTS: Final = 8
MAX_HOSTS: Final = 200
_MAX_LABEL_TEXT: Final = 500

# Anything may stand before an "@"; a host ends where a sentence goes on.
_AUTHORITY: Final = r"(?:[^\s/\\?#\"'<>@]{1,200}@)?[^\s/\\?#\"'<>()`{}|^,;]{1,300}"
_IN_TEXT: Final = re.compile(
    rf"(?:\b(?:https?|ftp):[/\\]{{2}}[/\\]*|\bmailto:|\b(?=www\d?\.))({_AUTHORITY})", re.IGNORECASE
)
_MARKS: Final = ("http", "ftp:", "www", "mailto:")
_IN_ATTRIBUTE: Final = re.compile(
    r"(?:(?:https?|ftp):[/\\]*|mailto:|[/\\]{2})([^/\\?#]{1,300})", re.IGNORECASE
)
_ATTRIBUTE: Final = re.compile(
    r"\b(?:href|src|action|formaction|background|cite|poster|xlink:href)\s*=\s*"
    r"""("[^"]*"|'[^']*'|[^\s"'>]+)""",
    re.IGNORECASE,
)
_HREF: Final = re.compile(r"""\bhref\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)
_ANCHOR: Final = re.compile(r"<(/?)a\b([^<>]*)>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_REMOVED_BY_BROWSERS: Final = re.compile(r"[\t\r\n]")
_LEADING_BLANKS: Final = "".join(map(chr, range(33)))
_SHOWN_HOST: Final = re.compile(
    r"\s*(?P<scheme>https?:[/\\]{2}|www\.)?(?P<host>[\w-]+(?:\.[\w-]+)+)\.?(?P<end>[/:?#\s]|\Z)",
    re.IGNORECASE,
)
# A word with a dot is shown as a link without "http" only if it ends as names do, not as files do.
_LIKE_DOMAINS: Final = frozenset(
    ["com", "net", "org", "info", "biz", "edu", "gov", "mil", "int", "eu"]
)
_LIKE_FILES: Final = frozenset(
    ["cc", "cs", "js", "md", "ml", "pl", "ps", "py", "rs", "sh", "so", "ts", "vb"]
)


class Links(NamedTuple):
    """Hosts that a message leads to, in order, each once; names in A-labels.

    `mismatches` are pairs of registered domains: shown, and led to.
    """

    names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    mismatches: tuple[tuple[str, str], ...] = ()


def links_of(message: bytes, structure: Structure) -> Links:
    """Find the links in the texts of a message."""
    hosts: dict[str | IPv4Address | IPv6Address, None] = {}
    mismatches: dict[tuple[str, str], None] = {}
    texts = [part for part in structure.parts if part.type.startswith("text/")]
    for part in texts[:MAX_TEXTS]:
        text = decode(mime.content(message, part, MAX_TEXT_BYTES), part.charset)
        is_html = part.type == "text/html"
        for authority in _authorities(text, is_html=is_html):
            host = _host(authority)
            if host and len(hosts) < MAX_HOSTS:
                hosts[host] = None
        if is_html:
            mismatches |= dict.fromkeys(_mismatches(text))
    return Links(
        tuple(host for host in hosts if isinstance(host, str)),
        tuple(host for host in hosts if not isinstance(host, str)),
        tuple(mismatches),
    )


def _authorities(text: str, *, is_html: bool) -> Iterator[str]:
    if is_html:
        for value in _ATTRIBUTE.findall(text):
            found = _in_attribute(value)
            if found:
                yield found
    text = html.unescape(text) if is_html and "&" in text else text
    lower = text.lower()
    if any(mark in lower for mark in _MARKS):  # far quicker than the expression where there is none
        yield from _IN_TEXT.findall(text)


def _in_attribute(value: str) -> str:
    """Return the authority that an attribute's value leads to, "" if it leads to none."""
    value = html.unescape(value.strip("\"'"))
    value = _REMOVED_BY_BROWSERS.sub("", value).lstrip(_LEADING_BLANKS)
    found = _IN_ATTRIBUTE.match(value)
    return "" if found is None else found[1]


def _host(authority: str) -> str | IPv4Address | IPv6Address:
    """Return the host of an authority, "" if it is none that anybody could reach."""
    host = authority.rpartition("@")[2]
    if "%" in host:
        host = unquote(host)
    if host.startswith("["):
        return _ipv6(host)
    host = host.partition(":")[0].rstrip(".!*_~&=")
    last = host.rpartition(".")[2].lower()
    if last.isdigit() or last.startswith("0x"):
        return _ipv4(host)
    name = ascii_host(host)
    return name if "." in name and _NAME.fullmatch(name) else ""


_NAME: Final = re.compile(r"[a-z0-9_.-]+")


def _ipv6(host: str) -> IPv6Address | str:
    try:
        return IPv6Address(host[1:].partition("]")[0])
    except AddressValueError:
        return ""


def _ipv4(host: str) -> IPv4Address | str:
    """Read an address as browsers do: decimal, octal, hexadecimal, with less than four numbers."""
    try:
        numbers = [_number(text) for text in host.split(".")]
        *first, last = numbers
        if len(numbers) > 4 or any(number > 255 for number in first):
            return ""
        value = last
        for place, number in enumerate(first):
            value += number << (24 - 8 * place)
        if last >= 256 ** (5 - len(numbers)):
            return ""
        return IPv4Address(value)
    except ValueError:  # AddressValueError is one
        return ""


def _number(text: str) -> int:
    if not text.isascii() or len(text) > 20:
        raise ValueError(text)
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text[0] == "0" else 10)


# --- what is shown, and where it leads -----------------------------------------------------------


def _mismatches(text: str) -> Iterator[tuple[str, str]]:
    """Yield (shown, led to) for each link whose text is a name of another registered domain."""
    opened: tuple[str, int] | None = None
    for tag in _ANCHOR.finditer(text):
        is_end, attributes = tag.groups()
        if opened is not None:
            leads_to, start = opened
            shown = _shown_host(text[start : min(tag.start(), start + _MAX_LABEL_TEXT)])
            if shown and shown != leads_to:
                yield shown, leads_to
            opened = None
        href = None if is_end else _HREF.search(attributes)
        host = _host(_in_attribute(href[1])) if href is not None else ""
        if host:
            opened = (registered_domain(host) if isinstance(host, str) else str(host), tag.end())


def _shown_host(label: str) -> str:
    """Return the registered domain that a link's text shows, "" if it shows none."""
    shown = html.unescape(_TAG.sub("", label))
    found = _SHOWN_HOST.match(shown)
    if found is None:
        return ""
    prefix = found["scheme"] or ""
    last = found["host"].rpartition(".")[2].lower()
    if not prefix:
        is_alone = not shown[found.end() :].strip() or found["end"] == "/"
        is_name = last in _LIKE_DOMAINS or (len(last) == 2 and last not in _LIKE_FILES)
        if not (is_alone and is_name):
            return ""
    if last.isdigit():
        return found["host"]
    return registered_domain(ascii_host(found["host"]))
