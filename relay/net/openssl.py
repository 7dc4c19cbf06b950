"""The few OpenSSL calls that pyOpenSSL does not wrap, and its errors in words.

The only file that touches pyOpenSSL's private parts; knows nothing of profiles, streams or trust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from OpenSSL import SSL, crypto

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MODE_ENABLE_PARTIAL_WRITE",
    "MODE_RELEASE_BUFFERS",
    "OP_PRIORITIZE_CHACHA",
    "certificate_ders",
    "describe_error",
    "is_resumed",
    "outgoing_bytes",
    "release_buffers",
    "set_groups",
]

_LIBRARY: Final = cast("Any", SSL)._lib  # noqa: SLF001  (pyOpenSSL has no public way to these calls)
_FFI: Final = cast("Any", SSL)._ffi  # noqa: SLF001

MODE_ENABLE_PARTIAL_WRITE: Final = 0x01
MODE_RELEASE_BUFFERS: Final = 0x10
OP_PRIORITIZE_CHACHA: Final = 1 << 21


def set_groups(context: SSL.Context, groups: str) -> None:
    """Set the key exchange groups, in OpenSSL's list syntax.

    Raises:
        ValueError: this OpenSSL knows none of the groups.
    """
    handle = cast("Any", context)._context  # noqa: SLF001
    if _LIBRARY.SSL_CTX_set1_curves_list(handle, groups.encode("ascii")) != 1:
        _LIBRARY.ERR_clear_error()
        raise ValueError(f"this OpenSSL has not all of the groups {groups}")


def is_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake has resumed an earlier session."""
    return bool(_LIBRARY.SSL_session_reused(cast("Any", connection)._ssl))  # noqa: SLF001


def release_buffers(connection: SSL.Connection) -> bool:
    """Give a connection new, empty memory BIOs; False, and nothing done, if the old ones hold bytes.

    A memory BIO keeps the size of the most it has ever held: some 5 KiB after a handshake, ten times
    that after a large message. Idle connections have better uses for memory.
    """
    private = cast("Any", connection)
    if _held_bytes(private._into_ssl) or _held_bytes(private._from_ssl):  # noqa: SLF001
        return False
    incoming = _LIBRARY.BIO_new(_LIBRARY.BIO_s_mem())
    outgoing = _LIBRARY.BIO_new(_LIBRARY.BIO_s_mem())
    _LIBRARY.SSL_set_bio(private._ssl, incoming, outgoing)  # noqa: SLF001  (frees the old ones)
    private._into_ssl, private._from_ssl = incoming, outgoing  # noqa: SLF001
    return True


def outgoing_bytes(connection: SSL.Connection) -> int:
    """How many bytes wait to be sent; asking costs less than pyOpenSSL's exception for none."""
    return _held_bytes(cast("Any", connection)._from_ssl)  # noqa: SLF001


def certificate_ders(connection: SSL.Connection) -> tuple[bytes, ...]:
    """The other side's chain as DER, leaf first; empty if it has shown none.

    OpenSSL leaves the leaf out of the chain where we are the server, and keeps only the leaf in a
    session that is resumed from a ticket.
    """
    leaf = connection.get_peer_certificate()
    if leaf is None:
        return ()
    first = _der(leaf)
    others = [_der(each) for each in connection.get_peer_cert_chain() or ()]
    return (first, *others[1:]) if others[:1] == [first] else (first, *others)


def describe_error(error: SSL.Error) -> str:
    """OpenSSL's reasons, in its own words, on one line."""
    if isinstance(error, SSL.SysCallError):
        return "unexpected end of the connection"
    queue = cast("Iterable[tuple[str, str, str]]", error.args[0] if error.args else ())
    return "; ".join(reason for _, _, reason in queue if reason) or "TLS failed without a reason"


def _held_bytes(bio: Any) -> int:
    return int(_LIBRARY.BIO_get_mem_data(bio, _FFI.NULL))


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
