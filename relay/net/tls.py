"""TLS for both legs: OpenSSL contexts made from profiles and key pairs, and what a handshake gave.

It proves possession of keys and decides nothing about trust: every certificate passes here, and
`pki/trust.py` or `outbound/security.py` judge it afterwards. It knows no sockets (`handshake.py` drives
it, `stream.py` moves the bytes). RFC 8446, RFC 5246, RFC 9325.

Theory of operation. A listener has one `ServerTls`, a route one `ClientTls`. Each holds OpenSSL
contexts and hands out one `SSL.Connection` per handshake, working on memory BIOs.

- The server is asked only once the ClientHello has been read, so the context (that is: the
  certificate) is chosen before OpenSSL starts, and half an offer costs no OpenSSL memory.
- A client certificate is requested with an empty list of CAs, since clients withhold certificates
  that are not on the list. The verify callback says yes to everything: a refused client gets
  its handshake finished, and then a reply in SMTP that it can act on. OpenSSL still checks the
  signature over the handshake, so the peer holds the key of the leaf it shows.
- Sessions are resumed by tickets only (no cache in memory). Ticket keys belong to the context: a
  context made before the workers are forked makes tickets that all of them can read. A ticket
  holds the client's leaf, not its intermediates; whoever decides on a resumed session sees the
  leaf alone.
- Clients that ask for it are shown an OCSP answer beside our certificate, in both versions, if there is one
  that counts (RFC 6066 8): `staple` hands it in. On resumption no certificate is shown, and no answer.
- The client keeps the newest session per next hop. An OpenSSL session holds the chain, so the
  next hop's certificate is verified on resumption as on a full handshake.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from OpenSSL import SSL

from relay.errors import ConfigurationError
from relay.model import TlsFacts
from relay.net.openssl import (
    MODE_ENABLE_PARTIAL_WRITE,
    MODE_RELEASE_BUFFERS,
    OP_PRIORITIZE_CHACHA,
    ask_for_certificate,
    certificate_ders,
    describe_error,
    negotiated,
    set_groups,
)
from relay.pki.certificate import shared_certificate
from relay.tls.profile import INTERMEDIATE
from relay.tls.selection import Candidate, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from relay.model import Endpoint
    from relay.pki.certificate import Certificate
    from relay.tls.clienthello import ClientHello
    from relay.tls.profile import Profile

__all__ = ["ClientTls", "KeyPair", "ServerTls", "describe_failure", "facts_of"]

_MAX_SESSIONS: Final = 256
_PROTOCOLS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
_CURVES: Final = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, leaf first and then its intermediates, with the leaf's private key."""

    chain: tuple[Certificate, ...]
    key: PrivateKeyTypes


class ServerTls:
    """The server's side of one listener; made before the workers are forked.

    Args:
        key_pairs: our certificates; SNI and the client's offer choose, the first is the default.
        profile: what may be spoken.
        request_certificate: ask clients for a certificate (never insisting, see above).
        session_id: what sets this listener's sessions apart from others'; at most 32 bytes.

    Raises:
        ConfigurationError: OpenSSL takes a certificate or key not.
    """

    __slots__ = ("_candidates", "_contexts", "_staples", "profile")

    def __init__(
        self,
        key_pairs: Sequence[KeyPair],
        profile: Profile,
        *,
        request_certificate: bool,
        session_id: bytes,
    ) -> None:
        self.profile = profile
        self._candidates = [_candidate(each) for each in key_pairs]
        self._staples: dict[str, tuple[bytes, float]] = {}
        self._contexts = [
            _server_context(each, profile, session_id, request_certificate=request_certificate)
            for each in key_pairs
        ]
        for each, context in zip(key_pairs, self._contexts, strict=True):
            context.set_ocsp_server_callback(self._answer_about, each.chain[0].sha256)

    def accept(self, hello: ClientHello) -> SSL.Connection:
        """Prepare the handshake with a client that has made this offer."""
        connection = SSL.Connection(self._contexts[choose(self._candidates, hello)], None)
        connection.set_accept_state()
        return connection

    def staple(self, certificate: str, response: bytes, until: float) -> None:
        """Show an OCSP answer beside a certificate (by its SHA-256) until a moment, in seconds since 1970."""
        self._staples[certificate] = response, until

    def _answer_about(self, _: SSL.Connection, certificate: str | None) -> bytes:
        """Give OpenSSL the answer for a client that has asked for it; b"" is none."""
        response, until = self._staples.get(certificate or "", (b"", 0.0))
        return response if time.time() < until else b""


class ClientTls:
    """The client's side of one route, with the sessions that can be resumed.

    Args:
        key_pair: our certificate, None to have none.
        profile: what may be spoken.

    Raises:
        ConfigurationError: OpenSSL takes the certificate or key not.
    """

    __slots__ = ("_context", "_sessions", "profile")

    def __init__(self, key_pair: KeyPair | None = None, profile: Profile = INTERMEDIATE) -> None:
        self.profile = profile
        self._context = _client_context(key_pair, profile)
        self._sessions: dict[tuple[str, Endpoint], SSL.Session] = {}

    def connect(self, server_name: str, peer: Endpoint) -> SSL.Connection:
        """Prepare the handshake with a server, resuming where we have a session.

        `server_name` is sent as SNI; "" or an IP address sends none (RFC 6066 3).
        """
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        if sni := _sni(server_name):
            connection.set_tlsext_host_name(sni)
        session = self._sessions.get((server_name, peer))
        if session is not None:
            connection.set_session(session)
        return connection

    def remember(self, server_name: str, peer: Endpoint, connection: SSL.Connection) -> None:
        """Keep the session for the next connection to the same server.

        In TLS 1.3 tickets come after the handshake: call this after the first bytes received.
        """
        session = connection.get_session()
        if session is None:
            return
        self._sessions.pop((server_name, peer), None)
        self._sessions[server_name, peer] = session
        if len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]


def facts_of(
    connection: SSL.Connection, server_name: str = "", hello: ClientHello | None = None
) -> TlsFacts:
    """What a finished handshake has given."""
    found = negotiated(connection)
    return TlsFacts(
        version=found.version,
        cipher=found.cipher,
        cipher_bits=found.cipher_bits,
        group=found.group,
        resumed=found.resumed,
        server_name=server_name,
        hello=hello,
        certificates=tuple(map(shared_certificate, certificate_ders(connection))),
    )


def describe_failure(error: SSL.Error, profile: Profile, hello: ClientHello | None = None) -> str:
    """Why a handshake failed, for the log: our words where they say more than OpenSSL's."""
    if hello is not None and not set(hello.versions) & set(profile.versions):
        return f"unsupported protocol: client offered {hello.best_version or 'none'} at best"
    return describe_error(error)


def _server_context(
    key_pair: KeyPair, profile: Profile, session_id: bytes, *, request_certificate: bool
) -> SSL.Context:
    context = _context(SSL.TLS_SERVER_METHOD, profile)
    _use(context, key_pair)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | OP_PRIORITIZE_CHACHA)
    set_groups(context, "/".join(":".join(equals) for equals in profile.groups))
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(session_id)
    context.set_timeout(profile.session_hours * 3600)
    if request_certificate:
        ask_for_certificate(context)
    return context


def _client_context(key_pair: KeyPair | None, profile: Profile) -> SSL.Context:
    context = _context(SSL.TLS_CLIENT_METHOD, profile)
    if key_pair is not None:
        _use(context, key_pair)
    # A key share of the first of each tuple ("*"), so that a server without the post-quantum group
    # needs no second round trip.
    set_groups(
        context,
        ":".join(f"*{first}" + "".join(f":{g}" for g in rest) for first, *rest in profile.groups),
    )
    context.set_verify(SSL.VERIFY_NONE)
    return context


def _context(method: int, profile: Profile) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(min(_PROTOCOLS[each] for each in profile.versions))
    context.set_max_proto_version(max(_PROTOCOLS[each] for each in profile.versions))
    if profile.tls12_ciphers:
        context.set_cipher_list(":".join(profile.tls12_ciphers).encode("ascii"))
    context.set_tls13_ciphersuites(":".join(profile.tls13_ciphers).encode("ascii"))
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(
        MODE_RELEASE_BUFFERS
    )  # an idle connection keeps no record buffers: 26 KiB less
    # One call encrypts all it is given; a memory BIO is never full, so nothing is left half done.
    context.clear_mode(MODE_ENABLE_PARTIAL_WRITE)
    return context


def _use(context: SSL.Context, key_pair: KeyPair) -> None:
    leaf, *intermediates = key_pair.chain
    try:
        context.use_certificate(leaf.x509)
        for each in intermediates:
            context.add_extra_chain_cert(each.x509)
        context.use_privatekey(key_pair.key)  # type: ignore[arg-type]  # DH keys fail here, as they should
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        reason = describe_error(error) if isinstance(error, SSL.Error) else "no key for TLS"
        raise ConfigurationError(
            f"the certificate of {leaf.subject!r} cannot be used with its key: {reason}",
            remedy="use the key the certificate was made for, EC P-256 or RSA with 2048 bits or more",
        ) from error


def _candidate(key_pair: KeyPair) -> Candidate:
    leaf = key_pair.chain[0]
    names = {each.removeprefix("dns:") for each in leaf.names if each.startswith("dns:")}
    return Candidate(frozenset(names or {leaf.common_name.lower()}), _key_kind(key_pair.key))


def _key_kind(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    return "ed448" if isinstance(key, ed448.Ed448PrivateKey) else "rsa"


def _sni(name: str) -> bytes:
    """The name as it goes on the wire; empty for what RFC 6066 3 does not allow there."""
    if ":" in name or name.replace(".", "").isdigit():
        return b""  # an IP address
    try:
        return name.rstrip(".").encode("idna")
    except UnicodeError:
        return b""  # no host name; whether the certificate fits is judged without it
