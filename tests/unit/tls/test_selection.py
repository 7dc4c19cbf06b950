from __future__ import annotations

import pytest

from relay.tls.clienthello import ClientHello
from relay.tls.selection import Candidate, choose

ECDSA, RSA = 0x0403, 0x0804
TLS13_EC = 0
CANDIDATES = [
    Candidate(frozenset({"edge.example.org"}), "p256"),
    Candidate(frozenset({"edge.example.org"}), "rsa"),
    Candidate(frozenset({"*.example.net", "example.net"}), "rsa"),
    Candidate(frozenset({"mail.example.net"}), "p384"),
]


def hello(
    name: str = "", signatures=(ECDSA, RSA, 0x0503), versions=("TLSv1.3",), ciphers=(0x1301,)
):
    return ClientHello(versions, ciphers, signature_algorithms=signatures, server_name=name)


@pytest.mark.parametrize(
    ("offer", "index"),
    [
        (hello("edge.example.org"), 0),
        (hello("edge.example.org."), 0),
        (hello("edge.example.org", signatures=(RSA,)), 1),
        (hello("example.net"), 2),
        (hello("www.example.net"), 2),
        (hello("mail.example.net"), 3),
        (hello("a.b.example.net"), 0),  # a wildcard is for one label
        (hello("unknown.example"), 0),
        (hello(), 0),
        (hello(signatures=(RSA,)), 1),
        (hello(signatures=(0x0503,)), 3),
        (hello(signatures=(0x0807,)), 0),  # nothing suits: the default, and OpenSSL's verdict
        (hello("mail.example.net", signatures=(RSA,)), 3),  # the name comes first
    ],
)
def test_the_name_decides_and_then_what_the_client_can_verify(offer, index) -> None:
    assert choose(CANDIDATES, offer) == index


@pytest.mark.parametrize(
    ("ciphers", "signatures", "index"),
    [
        ((0xC02B, 0xC02F), (0x0401, 0x0403), 0),
        ((0xC02F,), (0x0401, 0x0403), 1),  # no ECDHE-ECDSA cipher
        ((0xC02B, 0xC02F), (0x0401,), 1),  # no ECDSA signature
        ((0xC02B, 0xC02F), (0x0603,), 0),  # TLS 1.2 ties no curve to a hash
        ((0xC02B,), (), 0),
        ((0xC02F,), (), 1),
        ((0x002F,), (), 0),
    ],
)
def test_in_tls12_the_ciphers_count_too(ciphers, signatures, index) -> None:
    offer = hello("edge.example.org", signatures, ("TLSv1.2",), ciphers)
    assert choose(CANDIDATES, offer) == index


def test_a_single_certificate_is_always_the_one() -> None:
    assert choose(CANDIDATES[:1], hello("unknown.example", signatures=())) == 0
