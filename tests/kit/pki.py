"""A certificate factory for tests: keys and certificates made in memory, good and bad ones.

Knows nothing of the relay's own issuing code (`relay.pki.issuing`), so the two can judge each other.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.pki.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_USAGES = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "code": ExtendedKeyUsageOID.CODE_SIGNING,
    "email": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


def make_key(kind: str = "ec") -> Key:
    """Make a private key: ec, p192, p384, ed25519, rsa1024, rsa2048 or rsa3072."""
    curves: dict[str, ec.EllipticCurve] = {
        "ec": ec.SECP256R1(),
        "p192": ec.SECP192R1(),
        "p384": ec.SECP384R1(),
    }
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def common_name(text: str) -> x509.Name:
    """Make a name of one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Issued:
    """A certificate with its key; `chain` is what a peer sends: the leaf, then intermediates."""

    cert: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...]

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The chain as the relay sees it."""
        return tuple(Certificate(each) for each in self.chain)

    @property
    def pem(self) -> bytes:
        """The leaf alone."""
        return self.cert.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The leaf and the intermediates."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key, unencrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pin(self) -> str:
        """The canonical SPKI pin."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"spki:sha256:{hashlib.sha256(spki).hexdigest()}"

    @property
    def cert_pin(self) -> str:
        """The canonical certificate pin."""
        return f"cert:sha256:{self.cert.fingerprint(hashes.SHA256()).hex()}"

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `name.pem` (the chain) and `name.key` (mode 0600); return their paths."""
        chain_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
        chain_path.write_bytes(self.chain_pem)
        key_path.touch(mode=0o600)
        key_path.write_bytes(self.key_pem)
        return chain_path, key_path


class Authority:
    """A CA in memory: a root, or an intermediate under `parent`."""

    def __init__(
        self,
        name: str = "Test CA",
        key_type: str = "ec",
        parent: Authority | None = None,
        *,
        days: float = 3650,
        not_before: datetime | None = None,
        path_length: int | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        sha1: bool = False,
    ) -> None:
        self.key = make_key(key_type)
        self.name = common_name(name)
        self.parent = parent
        issuer_name, issuer_key = (parent.name, parent.key) if parent else (self.name, self.key)
        builder = _builder(self.name, issuer_name, self.key, days, not_before)
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
        builder = builder.add_extension(_key_usage(ca=True), critical=True)
        builder = _with_identifiers(builder, self.key, issuer_key)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        self.cert = _signed(builder, issuer_key, sha1=sha1)

    @property
    def certificate(self) -> Certificate:
        """The CA certificate as the relay sees it."""
        return Certificate(self.cert)

    @property
    def pem(self) -> bytes:
        """The CA certificate."""
        return self.cert.public_bytes(Encoding.PEM)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """This CA and those above it, without the root."""
        return () if self.parent is None else (self.cert, *self.parent.chain)

    def issue(  # noqa: PLR0917  (in the order one says them: name, names, use, time, key)
        self,
        name: str = "client.example",
        dns: Sequence[str] = (),
        ip: Sequence[str] = (),
        uri: Sequence[str] = (),
        email: Sequence[str] = (),
        usages: Sequence[str] = ("client",),
        days: float = 30,
        not_before: datetime | None = None,
        key: str | Key = "ec",
        *,
        sha1: bool = False,
        ca: bool = False,
        digital_signature: bool = True,
        key_usage: bool = True,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> Issued:
        """Issue a leaf: `usages` are words of client, server, code, email and any; () for none."""
        made = make_key(key) if isinstance(key, str) else key
        builder = _builder(common_name(name), self.name, made, days, not_before)
        builder = _with_leaf_extensions(
            builder, dns=dns, ip=ip, uri=uri, email=email, usages=usages, ca=ca
        )
        if key_usage:
            usage = _key_usage(ca=ca, digital_signature=digital_signature)
            builder = builder.add_extension(usage, critical=True)
        builder = _with_identifiers(builder, made, self.key)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        cert = _signed(builder, self.key, sha1=sha1)
        return Issued(cert, made, (cert, *self.chain))


def self_signed(  # noqa: PLR0917  (as Authority.issue)
    name: str = "client.example",
    dns: Sequence[str] = (),
    usages: Sequence[str] = ("client",),
    days: float = 30,
    not_before: datetime | None = None,
    key: str | Key = "ec",
    *,
    ip: Sequence[str] = (),
    sha1: bool = False,
    digital_signature: bool = True,
) -> Issued:
    """Make a certificate that vouches for itself, as devices and `openssl req -x509` do."""
    made = make_key(key) if isinstance(key, str) else key
    builder = _builder(common_name(name), common_name(name), made, days, not_before)
    builder = _with_leaf_extensions(
        builder, dns=dns, ip=ip, uri=(), email=(), usages=usages, ca=False
    )
    usage = _key_usage(ca=False, digital_signature=digital_signature)
    builder = builder.add_extension(usage, critical=True)
    cert = _signed(builder, made, sha1=sha1)
    return Issued(cert, made, (cert,))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: float, not_before: datetime | None
) -> x509.CertificateBuilder:
    start = not_before or datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )


def _with_leaf_extensions(
    builder: x509.CertificateBuilder,
    *,
    dns: Sequence[str],
    ip: Sequence[str],
    uri: Sequence[str],
    email: Sequence[str],
    usages: Sequence[str],
    ca: bool,
) -> x509.CertificateBuilder:
    names: list[x509.GeneralName] = [
        *(x509.DNSName(each) for each in dns),
        *(x509.IPAddress(ipaddress.ip_address(each)) for each in ip),
        *(x509.UniformResourceIdentifier(each) for each in uri),
        *(x509.RFC822Name(each) for each in email),
    ]
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages:
        purposes = x509.ExtendedKeyUsage([_USAGES[each] for each in usages])
        builder = builder.add_extension(purposes, critical=False)
    return builder


def _with_identifiers(
    builder: x509.CertificateBuilder, key: Key, issuer_key: Key
) -> x509.CertificateBuilder:
    subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(subject, critical=False)
    return builder.add_extension(issuer, critical=False)


def _key_usage(*, ca: bool, digital_signature: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=not (digital_signature or ca),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder, key: Key, *, sha1: bool) -> x509.Certificate:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None)
    cert = builder.sign(key, hashes.SHA256())
    return _resigned_with_sha1(cert, key) if sha1 else cert


def _resigned_with_sha1(
    cert: x509.Certificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> x509.Certificate:
    """Swap the signature algorithm for its SHA-1 form, which the builder refuses to make."""
    if isinstance(key, rsa.RSAPrivateKey):
        strong = bytes.fromhex("300d06092a864886f70d01010b0500")
        weak = bytes.fromhex("300d06092a864886f70d0101050500")
    else:
        strong = bytes.fromhex("300a06082a8648ce3d040302")
        weak = bytes.fromhex("300906072a8648ce3d0401")
    content = _content(cert.tbs_certificate_bytes).replace(strong, weak, 1)
    signed = _der(0x30, content)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    else:
        signature = key.sign(signed, ec.ECDSA(hashes.SHA1()))  # noqa: S303
    return x509.load_der_x509_certificate(_der(0x30, signed + weak + _der(0x03, b"\0" + signature)))


def _content(der: bytes) -> bytes:
    header = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[header:]


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content
