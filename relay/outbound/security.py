"""Is the next hop who its route says? Chain and name, or a pin, decided on what it presented.

Pure: it gets the certificates and the time. Must be asked after every handshake, resumed ones
too, before a byte is sent. RFC 5280 6 (paths), RFC 9525 (names).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.pki.certificate import MalformedCertificate
from relay.pki.chain import MAX_INTERMEDIATES, Anchors, verify_chain
from relay.pki.links import fault_of_leaf
from relay.pki.server_names import is_name_of_server, vouches_for_server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from relay.model import TlsFacts
    from relay.outbound.routes import Host, Route
    from relay.pki.certificate import Certificate

__all__ = ["PeerCheck", "objection_to_server"]

_MAX_REMEMBERED: Final = 16
_SERVER_USAGES: Final = frozenset(
    {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


class PeerCheck:
    """What one host of a route must present. Trusted certificates are prepared once."""

    def __init__(self, route: Route, host: Host) -> None:
        self._mode = route.settings.tls
        self._pins = frozenset(route.pins)
        self._name = route.server_name(host)
        self._anchors = Anchors(route.anchors)
        self._intermediates: dict[str, tuple[Certificate, ...]] = {}

    def objection(self, facts: TlsFacts, now: datetime) -> str | None:
        """Say why the next hop is not believed, for the log; None: it is who it should be."""
        if not facts.certificates:
            return "the next hop presented no certificate"
        try:
            if self._mode == "fingerprint":
                return self._pin_objection(facts.certificates[0])
            return self._chain_objection(facts, now)
        except MalformedCertificate as error:
            return str(error)

    def _pin_objection(self, leaf: Certificate) -> str | None:
        presented = {f"spki:sha256:{leaf.spki_sha256}", f"cert:sha256:{leaf.sha256}"}
        if presented & self._pins:
            return None
        return f"the certificate (spki:sha256:{leaf.spki_sha256}) matches no pin of the route"

    def _chain_objection(self, facts: TlsFacts, now: datetime) -> str | None:
        if not self._anchors.certificates:
            return "the route has no CA to trust"
        if not is_name_of_server(self._name):
            return f"no certificate can have the name {self._name!r}"
        chain = (facts.certificates[0], *self._known_intermediates(facts))
        objection = objection_to_server(chain, self._anchors, now) or (
            None if vouches_for_server(chain[0], self._name) else "it has another name"
        )
        return objection and f"the certificate is not good for {self._name}: {objection}"

    def _known_intermediates(self, facts: TlsFacts) -> tuple[Certificate, ...]:
        """Return the intermediates presented, or for a resumed session those of its first time.

        A resumed session may have kept the leaf only. They are remembered as material, not as a
        verdict: the path is built and checked again every time.
        """
        leaf, *rest = facts.certificates
        if rest:
            if len(self._intermediates) >= _MAX_REMEMBERED:
                self._intermediates.clear()
            self._intermediates[leaf.sha256] = tuple(rest[:MAX_INTERMEDIATES])
        return self._intermediates.get(leaf.sha256, ())


def objection_to_server(
    chain: Sequence[Certificate], anchors: Anchors, now: datetime
) -> str | None:
    """Say why a server's chain is not believed, whatever its name; None: it is.

    Args:
        chain: leaf first.
        anchors: whom to trust; a server's own certificate may stand there, too.
        now: the time to judge by.

    Raises:
        MalformedCertificate: the leaf cannot be read.
    """
    leaf = chain[0]
    usages = leaf.extension(x509.ExtendedKeyUsage)
    if usages is not None and _SERVER_USAGES.isdisjoint(usages):
        return "it is not made for servers"
    if leaf in anchors:  # trusted as it is
        fault = fault_of_leaf(leaf, now)
        return None if fault is None else fault.reason
    verdict = verify_chain(chain, anchors, now, _SERVER_USAGES)
    return None if verdict.status is None else verdict.reason
