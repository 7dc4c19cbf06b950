"""Keys by what they sign."""

from __future__ import annotations

from relay.mailauth.keyring import NO_KEYS, Keyring
from relay.mailauth.signing import SigningKey
from tests.kit.dkim import ed25519_key, rsa_key

RSA = SigningKey("xn--bcher-kva.example", "rsa", rsa_key())
ED25519 = SigningKey("xn--bcher-kva.example", "ed", ed25519_key())
EDGE = SigningKey("edge.example.org", "g1", ed25519_key())


def test_keys_of_a_domain_are_found_by_either_spelling_of_it():
    keyring = Keyring.of([(RSA, ("author",)), (ED25519, ("author",)), (EDGE, ("author",))])
    assert keyring.authors == {"bücher.example": (RSA, ED25519), "edge.example.org": (EDGE,)}
    assert keyring.signs


def test_a_key_may_have_several_uses():
    keyring = Keyring.of([(EDGE, ("identity", "seal")), (RSA, ("author", "identity"))])
    assert keyring.identity == (EDGE, RSA)
    assert keyring.seal is EDGE
    assert list(keyring.authors) == ["bücher.example"]


def test_others_read_seals_of_rsa_keys():
    keyring = Keyring.of([(ED25519, ("seal",)), (RSA, ("seal",)), (EDGE, ("seal",))])
    assert keyring.seal is RSA
    assert not keyring.signs


def test_without_keys_nothing_is_signed():
    assert not NO_KEYS.signs
    assert NO_KEYS.seal is None
