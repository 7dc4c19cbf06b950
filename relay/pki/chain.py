"""Does a chain lead to a trusted CA? Path building over the certificates a peer has sent.

Knows nothing of identities. From the leaf upwards every certificate that bears the issuer's name is
tried, the trusted ones first; where one proves wrong, the search goes back and tries the next. What
one certificate must be stands in `links.py`, what names a CA may vouch for in `name_constraints.py`.

The peer decides what is in the chain, so all work is counted: depth, certificates, signatures verified,
names compared. Whatever is sent, an answer comes within some milliseconds. RFC 5280 6.1, RFC 4158.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from relay.model import TrustStatus
from relay.pki.certificate import PARSE_FAULTS, Certificate, MalformedCertificate
from relay.pki.links import TLS_PURPOSES, Fault, fault_of_ca, fault_of_leaf, is_self_issued
from relay.pki.name_constraints import count_comparisons, is_permitted, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

__all__ = ["MAX_DEPTH", "MAX_INTERMEDIATES", "Anchors", "ChainVerdict", "verify_chain"]

MAX_DEPTH: Final = 5
"""CA certificates between a leaf and its anchor; real chains have one or two."""

MAX_INTERMEDIATES: Final = 10
"""Certificates looked at beyond the leaf: a peer may send many, to keep us busy."""

MAX_SIGNATURES: Final = 64
"""Signatures verified for one chain, at some 0.1 ms each; a straight path takes three."""

MAX_COMPARISONS: Final = 8192
"""Names compared with constraints for one chain, at about 1 us each."""


_UNREADABLE: Final = Fault(TrustStatus.MALFORMED, "a certificate in the chain cannot be read")


class ChainVerdict(NamedTuple):
    """The path found, leaf first and anchor last; or none, with a status and a reason."""

    path: tuple[Certificate, ...]
    status: TrustStatus | None = None
    reason: str = ""


class Anchors:
    """The CAs trusted for one purpose. Intermediates may stand here too, and then end a path.

    Args:
        certificates: the CAs; their own dates and constraints count.
        max_depth: how many CA certificates may stand between a leaf and one of them; those that
            a CA has given itself do not count, as with path lengths.

    Raises:
        MalformedCertificate: one of them cannot be read.
    """

    def __init__(
        self, certificates: Iterable[Certificate] = (), max_depth: int = MAX_DEPTH
    ) -> None:
        self.certificates = tuple(certificates)
        self.max_depth = max_depth
        self._by_subject = _by_subject(self.certificates)

    def called(self, subject: str) -> Sequence[Certificate]:
        """Those of a name."""
        return self._by_subject.get(subject, ())

    def __contains__(self, certificate: Certificate) -> bool:
        return certificate in self.called(certificate.subject)


def _by_subject(certificates: Iterable[Certificate]) -> dict[str, list[Certificate]]:
    found: dict[str, list[Certificate]] = {}
    for each in certificates:
        found.setdefault(each.subject, []).append(each)
    return found


def verify_chain(
    certificates: Sequence[Certificate],
    anchors: Anchors,
    now: datetime,
    purposes: frozenset[x509.ObjectIdentifier] = TLS_PURPOSES,
) -> ChainVerdict:
    """Verify what a peer has sent.

    Args:
        certificates: leaf first; the others may come in any order.
        anchors: whom to trust.
        now: the time to judge by.
        purposes: what the CAs must be for, where they say so (extended key usage; any will do).
    """
    if not anchors.certificates:
        return _no(TrustStatus.UNTRUSTED, "no CA is trusted here: only pins count")
    now = now.replace(
        microsecond=0
    )  # RFC 5280 4.1.2.5: dates are whole seconds, both ends included
    leaf = certificates[0]
    try:
        fault = fault_of_leaf(leaf, now)
        if fault is not None:
            return _no(*fault)
        search = _Search(certificates[1 : MAX_INTERMEDIATES + 1], anchors, now, purposes)
        path = search.extend((leaf,))
    except MalformedCertificate:
        return _no(*_UNREADABLE)
    except _TooMuchWork:
        return _no(TrustStatus.UNTRUSTED, "the chain takes too much work to verify")
    return _no(*search.fault) if path is None else ChainVerdict(path)


def _no(status: TrustStatus, reason: str) -> ChainVerdict:
    return ChainVerdict((), status, reason)


class _TooMuchWork(Exception):
    """One of the limits is reached."""


class _Search:
    """One search for a path: what it has to go by, what it has spent, what stood in its way."""

    def __init__(
        self,
        others: Sequence[Certificate],
        anchors: Anchors,
        now: datetime,
        purposes: frozenset[x509.ObjectIdentifier],
    ) -> None:
        self._anchors = anchors
        self._now = now
        self._purposes = purposes
        self._has_unreadable = False
        self._others = self._readable(others)
        self._signatures: dict[tuple[Certificate, Certificate], bool] = {}
        self._comparisons = 0
        self._names: dict[Certificate, tuple[x509.GeneralName, ...]] = {}
        self._faults: list[tuple[int, Fault]] = []

    def _readable(self, others: Sequence[Certificate]) -> dict[str, list[Certificate]]:
        """Sort what was sent by name; junk beside a good path does no harm."""
        found: dict[str, list[Certificate]] = {}
        for each in others:
            try:
                found.setdefault(each.subject, []).append(each)
            except MalformedCertificate:
                self._has_unreadable = True
        return found

    @property
    def fault(self) -> Fault:
        """Why there is no path: what stood in the way of the longest attempt."""
        return max(self._faults, key=lambda each: each[0])[1]

    def extend(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        """Return the path, leaf first, continued to an anchor; None if it cannot be.

        Raises:
            _TooMuchWork: whoever made these certificates wants to keep us busy.
        """
        has_issuer = False
        for ca, is_anchor in self._issuers(path):
            has_issuer = True
            fault = self._fault_of(ca, path, is_anchor=is_anchor)
            if fault is not None:
                self._faults.append((len(path), fault))
            elif is_anchor:
                return (*path, ca)
            elif (found := self.extend((*path, ca))) is not None:
                return found
        if not has_issuer:
            fault = _UNREADABLE if self._has_unreadable else _fault_of_dead_end(path)
            self._faults.append((len(path), fault))
        return None

    def _issuers(self, path: tuple[Certificate, ...]) -> Iterator[tuple[Certificate, bool]]:
        """Yield who may have issued the last of a path, and whether it is an anchor."""
        name = path[-1].issuer
        known = [(each, True) for each in self._anchors.called(name)]
        known += [(each, False) for each in self._others.get(name, ()) if each not in self._anchors]
        for ca, is_anchor in known:
            # RFC 4158 5.2: the same name and key twice is a loop
            if not any(_is_same_ca(ca, each) for each in path):
                yield ca, is_anchor

    def _fault_of(
        self, ca: Certificate, path: tuple[Certificate, ...], *, is_anchor: bool
    ) -> Fault | None:
        between = path[1:] if is_anchor else (*path[1:], ca)
        if sum(not is_self_issued(each) for each in between) > self._anchors.max_depth:
            return Fault(TrustStatus.UNTRUSTED, "the chain is too long")
        try:
            return (
                fault_of_ca(ca, path, self._now, is_anchor=is_anchor, purposes=self._purposes)
                or self._fault_of_names(ca, path)
                or self._fault_of_signature(ca, path[-1])
            )
        except MalformedCertificate:
            return _UNREADABLE

    def _fault_of_names(self, ca: Certificate, path: tuple[Certificate, ...]) -> Fault | None:
        constraints = ca.extension(x509.NameConstraints)
        if constraints is None:
            return None
        for each in path:
            # RFC 5280 6.1.3 (b): certificates that a CA has given itself are exempt, but for the leaf
            if each is not path[0] and is_self_issued(each):
                continue
            if each not in self._names:
                self._names[each] = names_of(each)
            self._comparisons += count_comparisons(constraints, self._names[each])
            if self._comparisons > MAX_COMPARISONS:
                raise _TooMuchWork
            if not is_permitted(constraints, self._names[each]):
                reason = f"{ca.subject} may not vouch for this name"
                return Fault(TrustStatus.UNTRUSTED, reason)
        return None

    def _fault_of_signature(self, ca: Certificate, signed: Certificate) -> Fault | None:
        if (signed, ca) not in self._signatures:
            if len(self._signatures) >= MAX_SIGNATURES:
                raise _TooMuchWork
            self._signatures[signed, ca] = _has_signed(ca, signed)
        if self._signatures[signed, ca]:
            return None
        reason = f"a signature is wrong: {ca.subject} has not signed it with this key"
        return Fault(TrustStatus.UNTRUSTED, reason)


def _is_same_ca(first: Certificate, second: Certificate) -> bool:
    return first.subject == second.subject and first.spki_sha256 == second.spki_sha256


def _has_signed(ca: Certificate, signed: Certificate) -> bool:
    try:
        signed.x509.verify_directly_issued_by(ca.x509)
    except (*PARSE_FAULTS, InvalidSignature):
        return False
    return True


def _fault_of_dead_end(path: tuple[Certificate, ...]) -> Fault:
    last = path[-1]
    if len(path) == 1 and is_self_issued(last):
        return Fault(TrustStatus.UNTRUSTED, "it is self-signed")
    return Fault(TrustStatus.UNTRUSTED, f"no trusted CA is called {last.issuer}")
