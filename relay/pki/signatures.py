"""Is this signed with that key? For what `cryptography` reads but does not verify, or only slowly.

Knows nothing of who has the key. Large inputs are hashed by `hashlib`, which lets other threads
run meanwhile. RFC 4055 (RSA), RFC 5758 (ECDSA), RFC 8410 (Ed25519, Ed448).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

__all__ = ["is_broken_hash", "is_signed_by"]


def is_broken_hash(algorithm: hashes.HashAlgorithm | None) -> bool:
    """Whether collisions can be made (RFC 6151, RFC 9155); None: the signature has none of its own."""
    return isinstance(algorithm, hashes.MD5 | hashes.SHA1)


def is_signed_by(
    key: CertificatePublicKeyTypes,
    signature: bytes,
    signed: bytes | memoryview,
    algorithm: hashes.HashAlgorithm | None,
    rsa_padding: padding.AsymmetricPadding | None = None,
) -> bool:
    """Verify a signature.

    Args:
        key: the public key.
        signature: the signature.
        signed: the bytes it is over.
        algorithm: the digest, None for Ed25519 and Ed448.
        rsa_padding: for RSA keys; PKCS #1 v1.5 unless given.
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            if algorithm is not None:
                return False
            key.verify(signature, signed)
            return True
        if algorithm is None:
            return False
        digest = hashlib.new(algorithm.name, signed).digest()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, rsa_padding or padding.PKCS1v15(), Prehashed(algorithm))
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
