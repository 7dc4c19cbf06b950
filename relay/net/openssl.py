"""The few OpenSSL calls that pyOpenSSL does not wrap, and its errors in words.

The only file that touches pyOpenSSL's private parts; knows nothing of profiles, streams or trust.
Why it has to, and what if they change: docs/decisions/0004.
"""

# ruff: noqa: SLF001

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from OpenSSL import SSL

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MODE_ENABLE_PARTIAL_WRITE",
    "MODE_RELEASE_BUFFERS",
    "OP_PRIORITIZE_CHACHA",
    "Negotiated",
    "Records",
    "ask_for_certificate",
    "certificate_ders",
    "describe_error",
    "negotiated",
    "set_groups",
]

_LIBRARY: Final = cast("Any", SSL)._lib
_FFI: Final = cast("Any", SSL)._ffi

_NULL: Final = _FFI.NULL
_RECORD_BYTES: Final = 16 * 1024  # RFC 8446 5.1: of plain text, at most
_SCRATCH_BYTES: Final = 80 * 1024
_SCRATCH: Final = _FFI.new("char[]", _SCRATCH_BYTES)
"""Where OpenSSL writes what is copied out at once: there is one event loop a process, so all connections
can share it, and it stays in the processor's cache. Not for threads: OpenSSL is called without the GIL."""
_ENCODED: Final = _LIBRARY.BIO_new(_LIBRARY.BIO_s_mem())
"""Where it encodes certificates, which are taken out at once; shared for the same reason."""

MODE_ENABLE_PARTIAL_WRITE: Final = 0x01
MODE_RELEASE_BUFFERS: Final = 0x10
OP_PRIORITIZE_CHACHA: Final = 1 << 21


def set_groups(context: SSL.Context, groups: str) -> None:
    """Set the key exchange groups, in OpenSSL's list syntax.

    Raises:
        ValueError: this OpenSSL knows none of the groups.
    """
    handle = cast("Any", context)._context
    if _LIBRARY.SSL_CTX_set1_curves_list(handle, groups.encode("ascii")) != 1:
        _LIBRARY.ERR_clear_error()
        raise ValueError(f"this OpenSSL has not all of the groups {groups}")


def ask_for_certificate(context: SSL.Context) -> None:
    """Ask clients for a certificate and let each one pass; who it is gets decided elsewhere.

    As `SSL.Context.set_verify` with a callback that says yes; but OpenSSL calls three times for a
    leaf alone, and pyOpenSSL would make an object of the certificate each time.
    """
    handle = cast("Any", context)._context
    _LIBRARY.SSL_CTX_set_verify(handle, SSL.VERIFY_PEER, _ACCEPT)


def _accept(_is_verified: int, store: Any) -> int:
    _LIBRARY.X509_STORE_CTX_set_error(store, 0)  # X509_V_OK: the session remembers it
    return 1


_ACCEPT: Final = _FFI.callback("int (*)(int, X509_STORE_CTX *)", _accept)
"""Lives as long as the process: contexts hold the bare pointer."""


class Negotiated(NamedTuple):
    """What both sides have agreed upon; `group` is empty where OpenSSL does not know it."""

    version: str
    cipher: str
    cipher_bits: int
    group: str
    resumed: bool


def negotiated(connection: SSL.Connection) -> Negotiated:
    """What a finished handshake has come to."""
    tls = cast("Any", connection)._ssl
    cipher = _LIBRARY.SSL_get_current_cipher(tls)
    return Negotiated(
        _text(_LIBRARY.SSL_get_version(tls)),
        *_describe_cipher(cipher),
        group=_text(_LIBRARY.SSL_get0_group_name(tls)),
        resumed=bool(_LIBRARY.SSL_session_reused(tls)),
    )


@lru_cache(maxsize=64)  # a cipher lives as long as the library
def _describe_cipher(cipher: Any) -> tuple[str, int]:
    """The name of a cipher, and its strength in bits."""
    return _text(_LIBRARY.SSL_CIPHER_get_name(cipher)), _LIBRARY.SSL_CIPHER_get_bits(cipher, _NULL)


class Records:
    """The records of one connection, into and out of its memory BIOs.

    The same OpenSSL calls as `SSL.Connection`'s, at a third of their cost: `recv` would say by an
    exception, after a second SSL_read, that nothing more is there; that happens at every receive.
    """

    __slots__ = ("_private",)

    def __init__(self, connection: SSL.Connection) -> None:
        self._private = cast("Any", connection)

    def shake_hands(self) -> bool:
        """Go on with the handshake; False if it needs more from the peer.

        Raises:
            SSL.Error: it has failed.
        """
        private = self._private
        tls = private._ssl
        result = _LIBRARY.SSL_do_handshake(tls)
        if result <= 0 and _LIBRARY.SSL_get_error(tls, result) != _LIBRARY.SSL_ERROR_WANT_READ:
            private._raise_ssl_error(tls, result)
        # What OpenSSL disliked in a certificate that we let pass stands in the thread's error queue:
        # before version 4 it takes that for the fault of whichever connection reads next.
        _LIBRARY.ERR_clear_error()
        return bool(result > 0)

    def read(self, data: bytes | memoryview, plain: list[bytes]) -> None:
        """Take bytes of the peer, decrypt all records that are whole, and append what was in them.

        Raises:
            SSL.Error: TLS is over (`SSL.ZeroReturnError`) or has failed.
        """
        private = self._private
        tls, bio = private._ssl, private._into_ssl
        if data:
            if _LIBRARY.BIO_write(bio, _pointer(data), len(data)) < 0:
                raise MemoryError
        elif not _held_bytes(bio):
            return
        has_more = True
        while has_more:
            size = _LIBRARY.SSL_read(tls, _SCRATCH, _RECORD_BYTES)
            if size <= 0:
                if _LIBRARY.SSL_get_error(tls, size) != _LIBRARY.SSL_ERROR_WANT_READ:
                    private._raise_ssl_error(tls, size)
                return
            plain.append(_FFI.unpack(_SCRATCH, size))
            # OpenSSL fetches record by record, and a record fits into the buffer: when the BIO is
            # empty, nothing is left inside either.
            has_more = _LIBRARY.BIO_get_mem_data(bio, _NULL)

    def feed(self, data: bytes | memoryview) -> None:
        """Put bytes of the peer where the handshake finds them."""
        if _LIBRARY.BIO_write(self._private._into_ssl, _pointer(data), len(data)) < 0:
            raise MemoryError

    def write(self, data: bytes | memoryview) -> bytes:
        """Encrypt, and take all that must be sent to the peer by now.

        Raises:
            SSL.Error: TLS is over or has failed.
        """
        private = self._private
        size = _LIBRARY.SSL_write(private._ssl, _pointer(data), len(data))
        if size <= 0:
            private._raise_ssl_error(private._ssl, size)
        size = _LIBRARY.BIO_read(private._from_ssl, _SCRATCH, _SCRATCH_BYTES)
        sealed: bytes = _FFI.unpack(_SCRATCH, size)
        return sealed if size < _SCRATCH_BYTES else sealed + _take_all(private._from_ssl)

    def outgoing(self) -> bytes:
        """Take what must be sent to the peer; b"" if there is nothing."""
        return _take_all(self._private._from_ssl)

    def release_buffers(self) -> bool:
        """Give the connection new, empty memory BIOs; False, and nothing done, if the old ones hold bytes.

        A memory BIO keeps the size of the most it has ever held: some 5 KiB after a handshake, ten
        times that after a large message. Idle connections have better uses for memory.
        """
        private = self._private
        if _held_bytes(private._into_ssl) or _held_bytes(private._from_ssl):
            return False
        incoming = _LIBRARY.BIO_new(_LIBRARY.BIO_s_mem())
        outgoing = _LIBRARY.BIO_new(_LIBRARY.BIO_s_mem())
        _LIBRARY.SSL_set_bio(private._ssl, incoming, outgoing)  # frees the old ones
        private._into_ssl, private._from_ssl = incoming, outgoing
        return True


def certificate_ders(connection: SSL.Connection) -> tuple[bytes, ...]:
    """The other side's chain as DER, leaf first; empty if it has shown none.

    OpenSSL leaves the leaf out of the chain where we are the server, and keeps only the leaf in a
    session that is resumed from a ticket.
    """
    tls = cast("Any", connection)._ssl
    leaf = _LIBRARY.SSL_get_peer_certificate(tls)
    if leaf == _NULL:
        return ()
    first = _der(leaf)
    _LIBRARY.X509_free(leaf)  # it was counted for us
    chain = _LIBRARY.SSL_get_peer_cert_chain(tls)
    if chain == _NULL:
        return (first,)
    others = [_der(_LIBRARY.sk_X509_value(chain, n)) for n in range(_LIBRARY.sk_X509_num(chain))]
    return (first, *others[1:]) if others[:1] == [first] else (first, *others)


def describe_error(error: SSL.Error) -> str:
    """OpenSSL's reasons, in its own words, on one line."""
    if isinstance(error, SSL.SysCallError):
        return "unexpected end of the connection"
    queue = cast("Iterable[tuple[str, str, str]]", error.args[0] if error.args else ())
    return "; ".join(reason for _, _, reason in queue if reason) or "TLS failed without a reason"


def _pointer(data: bytes | memoryview) -> Any:
    """What cffi takes for a `const void *`: bytes as they are, which spares it an object."""
    return data if type(data) is bytes else _FFI.from_buffer(data)


def _held_bytes(bio: Any) -> int:
    return int(_LIBRARY.BIO_get_mem_data(bio, _NULL))


def _take_all(bio: Any) -> bytes:
    """Empty a memory BIO."""
    size = _LIBRARY.BIO_read(bio, _SCRATCH, _SCRATCH_BYTES)
    if size <= 0:
        return b""
    taken: bytes = _FFI.unpack(_SCRATCH, size)
    return taken if size < _SCRATCH_BYTES else taken + _take_all(bio)


def _text(pointer: Any) -> str:
    return "" if pointer == _NULL else _FFI.string(pointer).decode()


def _der(certificate: Any) -> bytes:
    _LIBRARY.i2d_X509_bio(_ENCODED, certificate)
    return _take_all(_ENCODED)
