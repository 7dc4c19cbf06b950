from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding

from relay.pki.signatures import is_broken_hash, is_signed_by
from tests.kit.pki import make_key

TEXT = b"what is signed" * 1000
SHA256 = hashes.SHA256()
PSS = padding.PSS(padding.MGF1(SHA256), 32)
EC, RSA, ED25519 = make_key("p384"), make_key("rsa2048"), make_key("ed25519")
ED448 = ed448.Ed448PrivateKey.generate()
DSA = dsa.generate_private_key(1024)

SIGNED = {
    "ec": (EC, SHA256, None, EC.sign(TEXT, ec.ECDSA(SHA256))),
    "rsa": (RSA, SHA256, None, RSA.sign(TEXT, padding.PKCS1v15(), SHA256)),
    "rsa sha512": (RSA, hashes.SHA512(), None, RSA.sign(TEXT, padding.PKCS1v15(), hashes.SHA512())),
    "pss": (RSA, SHA256, PSS, RSA.sign(TEXT, PSS, SHA256)),
    "ed25519": (ED25519, None, None, ED25519.sign(TEXT)),
    "ed448": (ED448, None, None, ED448.sign(TEXT)),
}


@pytest.mark.parametrize("kind", SIGNED)
def test_a_good_signature(kind):
    key, algorithm, rsa_padding, signature = SIGNED[kind]
    for signed in (TEXT, memoryview(TEXT)):
        assert is_signed_by(key.public_key(), signature, signed, algorithm, rsa_padding)


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("other", SIGNED)
def test_a_signature_of_another_kind_key_or_text(kind, other):
    key, algorithm, rsa_padding, signature = SIGNED[kind]
    public = key.public_key()
    assert not is_signed_by(public, signature, TEXT + b"!", algorithm, rsa_padding)
    assert not is_signed_by(public, b"", TEXT, algorithm, rsa_padding)
    if kind != other:
        assert not is_signed_by(public, SIGNED[other][3], TEXT, algorithm, rsa_padding)
        assert not is_signed_by(SIGNED[other][0].public_key(), signature, TEXT, *SIGNED[other][1:3])


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (EC, None),
        (RSA, None),
        (ED25519, SHA256),
        (ED448, SHA256),
        (DSA, SHA256),
        (EC, hashes.SM3()),
    ],
)
def test_an_algorithm_that_the_key_cannot_have(key, algorithm):
    assert not is_signed_by(key.public_key(), b"\x30\x00", TEXT, algorithm)


@pytest.mark.parametrize(
    ("algorithm", "is_broken"),
    [
        (hashes.MD5(), True),
        (hashes.SHA1(), True),
        (SHA256, False),
        (hashes.SHA512(), False),
        (None, False),
    ],
)
def test_which_digests_are_broken(algorithm, is_broken):
    assert is_broken_hash(algorithm) is is_broken
