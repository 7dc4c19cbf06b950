"""Asking an EST server for certificates: the partner's side, that needs nothing of ours but this.

The server is known by a CA of the system, by a CA file, or, the first time, by the digest of the root
that whoever invited has told. Blocking, for the command line. RFC 7030 4, RFC 8951.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from relay.errors import ConfigurationError, Unavailable
from relay.names import PRODUCT
from relay.pki.est import encode_request, parse_certificates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from relay.pki.certificate import Certificate
    from relay.pki.issuing import PrivateKey

__all__ = ["EstClient", "Trusted", "ask_for", "ask_for_successor", "chain_of"]

TIMEOUT_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 65_536

_PATH: Final = "/.well-known/est"
_ROOT_IS_ANOTHER: Final = "the server's root is another than the one you were told"


class Trusted(NamedTuple):
    """By what the server is known: a file of CAs, the SHA-256 of its root, or else the system's CAs."""

    ca: Path | None = None
    root_sha256: str = ""


class EstClient:
    """One server.

    Args:
        url: `https://edge.example.org:8443`; below it the paths of EST are.
        trusted: by what it is known.
        certificate: our current chain and key, to show to it.

    Raises:
        ConfigurationError: the address is none, or a file cannot be used.
    """

    def __init__(
        self, url: str, trusted: Trusted, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._host, self._port = _parse_url(url)
        self._url = url
        self._root_sha256 = trusted.root_sha256.replace(":", "").lower()
        self._context = _context(trusted.ca)
        if certificate is not None:
            try:
                self._context.load_cert_chain(*certificate)
            except OSError:
                raise ConfigurationError(
                    "no certificate with its key", remedy="check both files", path=certificate[0]
                ) from None

    def ca_certificates(self) -> tuple[Certificate, ...]:
        """Fetch the server's CAs; from here on they are what it is known by, if a digest named them.

        Raises:
            Unavailable: no usable answer came.
            ConfigurationError: the answer holds no certificates, or the root is another.
        """
        if not self._root_sha256:
            return parse_certificates(self._ask("GET", "cacerts", self._context))
        # RFC 7030 4.1.1: nothing in this answer is believed but what the digest proves.
        stranger = ssl.create_default_context()
        stranger.check_hostname = False
        stranger.verify_mode = ssl.CERT_NONE
        found = parse_certificates(self._ask("GET", "cacerts", stranger))
        root = next((each for each in found if each.sha256 == self._root_sha256), None)
        if root is None:
            raise ConfigurationError(
                _ROOT_IS_ANOTHER, remedy="ask who invited you; stop until then"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=root.der)
        self._context = context
        return tuple(each for each in found if each == root or each.issuer == root.subject)

    def enroll(self, name: str, token: str, request: x509.CertificateSigningRequest) -> Certificate:
        """Get the certificate that a token is for. Raises as `ca_certificates`."""
        secret = base64.b64encode(f"{name}:{token}".encode()).decode()
        return self._sign("simpleenroll", request, {"Authorization": f"Basic {secret}"})

    def reenroll(self, request: x509.CertificateSigningRequest) -> Certificate:
        """Get the successor of the certificate that we show. Raises as `ca_certificates`."""
        return self._sign("simplereenroll", request, {})

    def _sign(
        self, operation: str, request: x509.CertificateSigningRequest, fields: Mapping[str, str]
    ) -> Certificate:
        headers = {"Content-Type": "application/pkcs10", **fields}
        answer = self._ask("POST", operation, self._context, encode_request(request), headers)
        found = [
            each
            for each in parse_certificates(answer)
            if each.x509.public_key() == request.public_key()
        ]
        if not found:
            raise Unavailable(f"{self._url}: the certificate that came is for another key")
        return found[0]

    def _ask(
        self,
        method: str,
        operation: str,
        context: ssl.SSLContext,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> bytes:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
        )
        try:
            connection.request(
                method, f"{_PATH}/{operation}", body, {"User-Agent": PRODUCT, **(fields or {})}
            )
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._url}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            words = answer[:200].decode("ascii", "replace").partition("\n")[0]
            said = "".join(each for each in words if each.isprintable())
            raise Unavailable(f"{self._url} answers {response.status}: {said}")
        if len(answer) > MAX_ANSWER_BYTES:
            raise Unavailable(f"{self._url}: the answer is too long")
        return answer


def ask_for(name: str, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Make the request for a first certificate: its names are for who invited to say."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _signed(x509.CertificateSigningRequestBuilder().subject_name(subject), key)


def ask_for_successor(current: Certificate, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Make the request for the next certificate: the same subject and names (RFC 7030 4.2.2)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(current.x509.subject)
    names = current.extension(x509.SubjectAlternativeName)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return _signed(builder, key)


def chain_of(leaf: Certificate, authorities: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """A leaf and what stands between it and the root, as a TLS server has to see them."""
    chain = [leaf]
    while above := [
        each
        for each in authorities
        if each.subject == chain[-1].issuer and each.subject != each.issuer and each not in chain
    ]:
        chain.append(above[0])
    return tuple(chain)


def _signed(
    builder: x509.CertificateSigningRequestBuilder, key: PrivateKey
) -> x509.CertificateSigningRequest:
    return builder.sign(
        key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    )


def _parse_url(url: str) -> tuple[str, int]:
    remedy = 'write it as "https://edge.example.org:8443"'
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "https" or parts.path.strip("/") or parts.query:
        raise ConfigurationError(f"{url!r} is no address of an EST server", remedy=remedy)
    return host, port


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError:
        remedy = "give the root that whoever invited you has sent, as PEM"
        raise ConfigurationError("no CA certificate can be read", remedy=remedy, path=ca) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
