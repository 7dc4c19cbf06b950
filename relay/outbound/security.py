"""Is the next hop who its route says? Chain and name, or a pin, decided on what it presented.

Pure: it gets the certificates and the time. Must be asked after every handshake, resumed ones
too, before a byte is sent. RFC 5280 6 (paths), RFC 9525 (names).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy

from relay.pki.certificate import MalformedCertificate
from relay.pki.chain import MAX_DEPTH, MAX_INTERMEDIATES
from relay.pki.links import is_weak_key

if TYPE_CHECKING:
    from datetime import datetime

    from relay.model import TlsFacts
    from relay.outbound.routes import Host, Route
    from relay.pki.certificate import Certificate

__all__ = ["PeerCheck"]

_MAX_REMEMBERED = 16
_SERVER_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

_Policy = verification.Policy


class PeerCheck:
    """What one host of a route must present. Trusted certificates are prepared once."""

    def __init__(self, route: Route, host: Host) -> None:
        self._mode = route.settings.tls
        self._pins = frozenset(route.pins)
        self._name = route.server_name(host)
        anchors = [anchor.x509 for anchor in route.anchors]
        self._store = verification.Store(anchors) if anchors else None
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
        if self._store is None:
            return "the route has no CA to trust"
        leaf = facts.certificates[0]
        builder = (
            verification.PolicyBuilder()
            .store(self._store)
            .time(now)
            .max_chain_depth(MAX_DEPTH)
            .extension_policies(ca_policy=_ca_policy(), ee_policy=_server_policy())
        )
        try:
            verifier = builder.build_server_verifier(_subject(self._name))
        except ValueError:
            return f"no certificate can have the name {self._name!r}"
        try:
            verifier.verify(leaf.x509, [each.x509 for each in self._known_intermediates(facts)])
        except verification.VerificationError as error:
            return f"the certificate is not good for {self._name}: {error}"
        if is_weak_key(leaf.public_key):  # the verifier looks at the keys of issuers only
            return "its key is too weak"
        return None

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


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name))  # RFC 9525 6.5: an address needs an IP-ID
    except ValueError:
        return x509.DNSName(name.removesuffix("."))


def _ca_policy() -> ExtensionPolicy:
    """What a CA must be (RFC 5280 6.1.4): no more, as private CAs are made with plain openssl."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signs)
    )


def _server_policy() -> ExtensionPolicy:
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_is_server)
    )


def _check_signs(_: _Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the issuer may not sign certificates")


def _check_is_server(
    _: _Policy, __: x509.Certificate, usages: x509.ExtendedKeyUsage | None
) -> None:
    if usages is not None and not _SERVER_USAGES.intersection(usages):
        raise ValueError("the certificate is not made for servers")
