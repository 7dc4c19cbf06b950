from __future__ import annotations

import pytest
from OpenSSL import SSL

from relay.tls.profile import INTERMEDIATE, MODERN, PROFILES

MOZILLA_INTERMEDIATE = {  # Server Side TLS 5.7, guidelines of 2023-12-20, DHE left out
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
}  # fmt: skip


def test_profiles_have_the_names_of_the_configuration() -> None:
    assert set(PROFILES) == {"modern", "intermediate"}


def test_intermediate_is_mozillas() -> None:
    assert set(INTERMEDIATE.tls12_ciphers) == MOZILLA_INTERMEDIATE
    assert INTERMEDIATE.versions == ("TLSv1.3", "TLSv1.2")


def test_modern_is_tls13_only() -> None:
    assert MODERN.versions == ("TLSv1.3",)
    assert MODERN.tls12_ciphers == ()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_post_quantum_group_comes_first(profile) -> None:
    assert profile.groups[0] == ("X25519MLKEM768",)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_openssl_knows_every_cipher(profile) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    for cipher in profile.tls12_ciphers:
        context.set_cipher_list(cipher.encode())
    for cipher in profile.tls13_ciphers:
        context.set_tls13_ciphersuites(cipher.encode())
