"""The TLS profiles: which versions, ciphers and groups we speak, after Mozilla Server Side TLS 5.7.

Pure data: OpenSSL's names stand here, OpenSSL itself is `net/tls.py`'s business. DHE is left out of
`intermediate`: it serves clients without ECDHE only, and costs ten times as much. RFC 9325.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["INTERMEDIATE", "MODERN", "PROFILES", "Profile"]


class Profile(NamedTuple):
    """What may be spoken, best first; RFC 9325 4.

    `groups` are tuples of equals: among equals the client's ready key share decides, between tuples we
    do, at the price of a HelloRetryRequest. `session_hours` is how long a ticket resumes.
    """

    name: str
    versions: tuple[str, ...]
    tls12_ciphers: tuple[str, ...]
    tls13_ciphers: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    session_hours: int = 2


_TLS13_CIPHERS: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
_GROUPS: Final = (("X25519MLKEM768",), ("X25519", "prime256v1", "secp384r1"))

MODERN: Final = Profile(
    name="modern",
    versions=("TLSv1.3",),
    tls12_ciphers=(),
    tls13_ciphers=_TLS13_CIPHERS,
    groups=_GROUPS,
)
"""TLS 1.3 only."""

INTERMEDIATE: Final = Profile(
    name="intermediate",
    versions=("TLSv1.3", "TLSv1.2"),
    tls12_ciphers=(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
    tls13_ciphers=_TLS13_CIPHERS,
    groups=_GROUPS,
)
"""TLS 1.2 too, with AEAD ciphers and forward secrecy only."""

PROFILES: Final = {profile.name: profile for profile in (MODERN, INTERMEDIATE)}
"""The profiles by the name they have in the configuration."""
