"""May a CA vouch for these names? Name constraints, of every kind of name that has any.

Knows one CA and the names below it, nothing of chains. A constraint that we could not apply to a
name it is about counts as broken, never as kept. RFC 5280 4.2.1.10 and 7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from relay.pki.names import canonical_dns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from relay.pki.certificate import Certificate

__all__ = ["count_comparisons", "is_permitted", "names_of"]

_DNS_NAME: Final = re.compile(r"(?i)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
Rdn = frozenset[tuple[str, str]]


def names_of(certificate: Certificate) -> tuple[x509.GeneralName, ...]:
    """Every name of a certificate that a constraint may be about. Raises MalformedCertificate."""
    subject = certificate.x509.subject
    stated = tuple(certificate.extension(x509.SubjectAlternativeName) or ())
    names: list[x509.GeneralName] = list(stated)
    if len(subject.rdns):
        names.append(x509.DirectoryName(subject))
    if not stated:
        # RFC 5280 4.2.1.10: an address in the subject counts where there are no other names
        addresses = subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)
        names.extend(_email_name(str(each.value)) for each in addresses)
    return tuple(names)


def _email_name(address: str) -> x509.RFC822Name:
    try:
        return x509.RFC822Name(address)
    except ValueError:
        return x509.RFC822Name("none")  # no address, so it keeps no constraint


def count_comparisons(constraints: x509.NameConstraints, names: Sequence[x509.GeneralName]) -> int:
    """How much work `is_permitted` may be: whoever makes certificates decides about both factors."""
    trees = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
    parts = (len(each.value.rdns) if isinstance(each, x509.DirectoryName) else 1 for each in names)
    return trees * sum(parts)


def is_permitted(constraints: x509.NameConstraints, names: Iterable[x509.GeneralName]) -> bool:
    """Whether all of the names are in a permitted subtree of their kind, and none in an excluded one."""
    permitted = _by_kind(constraints.permitted_subtrees or ())
    excluded = _by_kind(constraints.excluded_subtrees or ())
    return all(
        _is_permitted(name, permitted.get(type(name)), excluded.get(type(name), ()))
        for name in names
    )


def _by_kind(
    subtrees: Iterable[x509.GeneralName],
) -> dict[type[x509.GeneralName], list[x509.GeneralName]]:
    kinds: dict[type[x509.GeneralName], list[x509.GeneralName]] = {}
    for subtree in subtrees:
        kinds.setdefault(type(subtree), []).append(subtree)
    return kinds


def _is_permitted(
    name: x509.GeneralName,
    permitted: Sequence[x509.GeneralName] | None,
    excluded: Sequence[x509.GeneralName],
) -> bool:
    if permitted is None and not excluded:
        return True  # no constraint is about names of this kind
    kind = _KINDS.get(type(name))
    if kind is None:
        return False  # RFC 5280 4.2.1.10: process it, or reject the certificate
    read, is_within, may_be_within = kind
    try:
        value = read(name.value)
        if any(may_be_within(value, _read_tree(each)) for each in excluded):
            return False
        return permitted is None or any(is_within(value, _read_tree(each)) for each in permitted)
    except ValueError:
        return False


def _read_tree(subtree: x509.GeneralName) -> Any:
    """Return the base of a subtree in the form that names of its kind are compared with."""
    if isinstance(subtree, x509.DirectoryName):
        return _read_directory_name(subtree.value)
    value = subtree.value
    if isinstance(subtree, x509.DNSName) and value and not _DNS_NAME.fullmatch(value):
        # a leading dot, too: RFC 5280 has it for hosts of URIs and addresses only
        raise ValueError("no base of DNS names")
    return value.lower() if isinstance(value, str) else value


# --- one kind after the other -------------------------------------------------------------------


def _read_dns(name: str) -> str:
    name = canonical_dns(name)
    if not _DNS_NAME.fullmatch(name.removeprefix("*.")):
        raise ValueError("no DNS name")
    return name


def _is_dns_within(name: str, base: str) -> bool:
    """RFC 5280: the base itself and all names below it."""
    return not base or name == base or name.endswith(f".{base}")


def _may_dns_be_within(name: str, base: str) -> bool:
    """A wildcard may stand for a name in the tree that it is not itself in."""
    return _is_dns_within(name, base) or (
        name.startswith("*.") and _is_dns_within(base, name.removeprefix("*."))
    )


def _read_email(address: str) -> tuple[str, str]:
    local, _, host = address.rpartition("@")
    if not local or not host or ("@" in local and not local.startswith('"')):
        raise ValueError("no address")
    return local, host.lower()


def _is_email_within(address: tuple[str, str], base: str) -> bool:
    """RFC 5280: one mailbox, all of one host, or (leading dot) of the hosts below a domain."""
    local, host = address
    if "@" in base:
        base_local, base_host = base.rsplit("@", 1)
        return (local.lower(), host) == (base_local, base_host)
    return host.endswith(base) if base.startswith(".") else host == base


def _read_uri(uri: str) -> str:
    host = urlsplit(uri).hostname
    if not host or host.replace(".", "").isdigit() or ":" in host:
        # RFC 5280: a URI without a host name cannot be said to keep a constraint
        raise ValueError("no host name")
    return host.lower().removesuffix(".")


def _is_uri_within(host: str, base: str) -> bool:
    """RFC 5280: one host, or (leading dot) the hosts below a domain."""
    return host.endswith(base) if base.startswith(".") else host == base


def _read_address(address: Any) -> IPv4Address | IPv6Address:
    found: IPv4Address | IPv6Address = address
    return found


def _is_address_within(address: IPv4Address | IPv6Address, base: IPv4Network | IPv6Network) -> bool:
    return address.version == base.version and address in base


def _read_directory_name(name: x509.Name) -> tuple[Rdn, ...]:
    return tuple(
        frozenset((each.oid.dotted_string, _folded(each.value)) for each in rdn)
        for rdn in name.rdns
    )


def _folded(value: str | bytes) -> str:
    """RFC 5280 7.1 in short: case and runs of space make no difference."""
    return " ".join(value.casefold().split()) if isinstance(value, str) else value.hex()


def _is_directory_name_within(name: tuple[Rdn, ...], base: tuple[Rdn, ...]) -> bool:
    return name[: len(base)] == base


_Kind = tuple["Callable[[Any], Any]", "Callable[[Any, Any], bool]", "Callable[[Any, Any], bool]"]
_KINDS: Final[dict[type[x509.GeneralName], _Kind]] = {
    x509.DNSName: (_read_dns, _is_dns_within, _may_dns_be_within),
    x509.RFC822Name: (_read_email, _is_email_within, _is_email_within),
    x509.UniformResourceIdentifier: (_read_uri, _is_uri_within, _is_uri_within),
    x509.IPAddress: (_read_address, _is_address_within, _is_address_within),
    x509.DirectoryName: (
        _read_directory_name,
        _is_directory_name_within,
        _is_directory_name_within,
    ),
}
"""Of each kind: how a name is read, whether it is in a subtree, whether it might be."""
