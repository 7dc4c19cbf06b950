"""What the client's TLS says: what came about, what was offered, and whether it was pushed down.

Knows nothing of certificates (`identity`). RFC 7507: the signal that a client has been pushed down;
RFC 8446 9.1: what is good today.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.model import TlsFacts
    from relay.policy.case import Case
    from relay.policy.check import Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "Settings", "TlsCheck", "build"]

_BEST: Final = "TLSv1.3"

FACTS: Final = (
    Fact("tls.version", FactType.STRING, Stage.HELLO, '"TLSv1.3" or "TLSv1.2"; "" without TLS.'),
    Fact("tls.cipher", FactType.STRING, Stage.HELLO, "The cipher suite, as OpenSSL calls it."),
    Fact(
        "tls.group",
        FactType.STRING,
        Stage.HELLO,
        'The key exchange group, as "X25519MLKEM768"; "" if unknown.',
    ),
    Fact("tls.resumed", FactType.BOOL, Stage.HELLO, "Whether an earlier session was resumed."),
    Fact(
        "tls.server_name",
        FactType.STRING,
        Stage.HELLO,
        'The name the client asked for (SNI), in lower case; "" for none.',
    ),
    Fact(
        "tls.ja4",
        FactType.STRING,
        Stage.HELLO,
        "JA4 fingerprint of the offer: which software it is.",
    ),
    Fact(
        "tls.offered",
        FactType.STRING,
        Stage.HELLO,
        'The best version offered, as "TLSv1.3" or "TLSv1.2".',
    ),
    Fact(
        "tls.downgraded",
        FactType.BOOL,
        Stage.HELLO,
        "Whether less came about than the client can do: it says so itself (FALLBACK_SCSV), or the best "
        "version it offers is not the one that came about.",
    ),
    Fact(
        "tls.post_quantum",
        FactType.BOOL,
        Stage.HELLO,
        "Whether the key exchange withstands a quantum computer (ML-KEM).",
    ),
)


class Settings(Table):
    """The client's TLS: nothing to set."""


def build(_settings: Settings, _tools: Tools) -> TlsCheck:
    """Make the check."""
    return TlsCheck()


class TlsCheck:
    """Reports at once (`policy.check.Check`)."""

    def report(self, case: Case, _stage: Stage, _wanted: frozenset[str]) -> Mapping[str, Value]:
        """Return all facts; without TLS they are empty."""
        tls = case.tls
        hello = tls.hello if tls else None
        return {
            "tls.version": tls.version if tls else "",
            "tls.cipher": tls.cipher if tls else "",
            "tls.group": tls.group if tls else "",
            "tls.resumed": tls is not None and tls.resumed,
            "tls.server_name": tls.server_name if tls else "",
            "tls.ja4": hello.ja4 if hello else "",
            "tls.offered": hello.best_version if hello else "",
            "tls.downgraded": tls is not None and _is_downgraded(tls),
            "tls.post_quantum": tls is not None and "MLKEM" in tls.group.upper(),
        }


def _is_downgraded(tls: TlsFacts) -> bool:
    hello = tls.hello
    if hello is None:
        return False
    if hello.fallback_scsv:
        return tls.version != _BEST  # RFC 7507 3: with the best version it says nothing
    return hello.best_version == _BEST and tls.version != _BEST
