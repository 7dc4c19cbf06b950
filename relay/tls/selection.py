"""Which of several server certificates suits a client: by name (SNI), then by what it can verify.

Knows names and key kinds only, no certificate and no OpenSSL. RFC 6066 3, RFC 6125 6.4.3,
RFC 8446 4.4.2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.tls.clienthello import ClientHello

__all__ = ["Candidate", "choose"]

_SIGNATURES: Final = {  # RFC 8446 4.2.3
    "p256": frozenset({0x0403}),
    "p384": frozenset({0x0503}),
    "p521": frozenset({0x0603}),
    "rsa": frozenset({0x0804, 0x0805, 0x0806}),
    "ed25519": frozenset({0x0807}),
    "ed448": frozenset({0x0808}),
}
_ANY_ECDSA: Final = frozenset({0x0303, 0x0403, 0x0503, 0x0603})  # TLS 1.2 ties no curve to a hash
_ANY_RSA: Final = frozenset({0x0301, 0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806})
_TLS12_SIGNATURES: Final = {
    "p256": _ANY_ECDSA,
    "p384": _ANY_ECDSA,
    "p521": _ANY_ECDSA,
    "rsa": _ANY_RSA,
    "ed25519": _SIGNATURES["ed25519"],
    "ed448": _SIGNATURES["ed448"],
}
_ECDHE_ECDSA: Final = frozenset({0xC02B, 0xC02C, 0xCCA9})  # the ciphers of the profiles
_ECDHE_RSA: Final = frozenset({0xC02F, 0xC030, 0xCCA8})


class Candidate(NamedTuple):
    """A server certificate, as far as the choice needs it.

    `names` are the DNS names in lower case, "*.example.org" too. `key` is a word of p256, p384,
    p521, rsa, ed25519 or ed448.
    """

    names: frozenset[str]
    key: str


def choose(candidates: Sequence[Candidate], hello: ClientHello) -> int:
    """Return the index of the best candidate: named exactly, then by wildcard, then any.

    Among equals the first that the client can verify wins. With none of them, it is the first of
    the best-named: the client may know more than it says.
    """
    if len(candidates) == 1:
        return 0
    named = _named(candidates, hello.server_name.rstrip("."))
    return next((each for each in named if _is_verifiable(candidates[each].key, hello)), named[0])


def _named(candidates: Sequence[Candidate], name: str) -> list[int]:
    wildcard = "*." + name.partition(".")[2]  # RFC 6125 6.4.3: for one label, the leftmost
    for wanted in (name, wildcard):
        if found := [n for n, candidate in enumerate(candidates) if wanted in candidate.names]:
            return found
    return list(range(len(candidates)))


def _is_verifiable(key: str, hello: ClientHello) -> bool:
    offered = frozenset(hello.signature_algorithms)
    if "TLSv1.3" in hello.versions:
        return not offered.isdisjoint(_SIGNATURES.get(key, frozenset()))
    ciphers = _ECDHE_RSA if key == "rsa" else _ECDHE_ECDSA
    if ciphers.isdisjoint(hello.ciphers):
        return False
    # RFC 5246 7.4.1.4.1: who sends no list takes SHA-1 with either, so any key will do.
    return not offered or not offered.isdisjoint(_TLS12_SIGNATURES.get(key, frozenset()))
