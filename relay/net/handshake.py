"""One side of a TLS handshake without its socket: what was received goes in, what is to be sent comes out.

Knows no transport, no waiting and no deadlines, and not whom the certificates belong to. RFC 8446 4,
RFC 5246 7.4.

Theory of operation. Both sides are driven alike: `go_on` takes all that has come, `outgoing` has what is to be
sent next, an alert too. They are done when `go_on` returns what was negotiated; the `channel`, which stands before
OpenSSL says its first word, then carries the rest. What has come behind the handshake is left to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from relay.errors import HandshakeFailed
from relay.net.channel import TlsChannel
from relay.net.tls import describe_failure, facts_of
from relay.tls.clienthello import HelloReader, MalformedHello

if TYPE_CHECKING:
    from relay.model import Endpoint, TlsFacts
    from relay.net.tls import ClientTls, ServerTls
    from relay.tls.clienthello import ClientHello
    from relay.tls.profile import Profile

__all__ = ["ClientHandshake", "ServerHandshake"]

_UNEXPECTED_MESSAGE: Final = bytes((21, 3, 1, 0, 2, 2, 10))  # a fatal alert, RFC 8446 6


class ServerHandshake:
    """The server's side. Half an offer costs no OpenSSL memory: it is read before OpenSSL is asked.

    `hello` is None until then, and so is `channel`.
    """

    __slots__ = ("_alert", "_is_done", "_reader", "_tls", "channel", "hello")

    def __init__(self, tls: ServerTls) -> None:
        self.hello: ClientHello | None = None
        self.channel: TlsChannel | None = None
        self._tls = tls
        self._reader = HelloReader()
        self._alert = b""
        self._is_done = False

    def go_on(self, inbox: list[bytes | memoryview]) -> TlsFacts | None:
        """Take what has been received; return what was negotiated, None while that needs more of it.

        Raises:
            HandshakeFailed: it comes to nothing; an alert waits in `outgoing`.
        """
        hello = self.hello or self._read_offer(inbox)
        if hello is None:
            return None
        if self.channel is None:
            self.hello, self.channel = hello, TlsChannel(self._tls.accept(hello))
        self._is_done = _go_on(self.channel, inbox, self._tls.profile, hello)
        if not self._is_done:
            return None
        return facts_of(self.channel.connection, hello.server_name, hello)

    def outgoing(self) -> bytes:
        """Take what is to be sent next; b"" if there is nothing."""
        if self.channel is None:
            return self._alert
        # RFC 8446 4.6.1: only tickets are left to send then; they go with what comes next.
        return b"" if self._is_done and self.channel.is_tls13 else self.channel.outgoing()

    def _read_offer(self, inbox: list[bytes | memoryview]) -> ClientHello | None:
        if not inbox:
            return None
        received = b"".join(inbox)
        inbox.clear()
        try:
            hello = self._reader.feed(received)
        except MalformedHello as error:
            self._alert = _UNEXPECTED_MESSAGE
            raise HandshakeFailed(f"not a TLS ClientHello: {error}") from error
        if hello is not None:
            inbox.append(bytes(self._reader.data))  # for OpenSSL to read, too
        return hello


class ClientHandshake:
    """The client's side. The session is remembered, to be resumed, once the server has spoken."""

    __slots__ = ("_profile", "_server_name", "channel")

    hello: Final = None
    """The offer is ours, and nothing to be told of."""

    def __init__(self, tls: ClientTls, server_name: str, peer: Endpoint) -> None:
        connection = tls.connect(server_name, peer)
        self.channel = TlsChannel(connection)
        # RFC 8446 4.6.1: tickets come after the handshake, before the server's first words.
        self.channel.on_first_bytes(lambda: tls.remember(server_name, peer, connection))
        self._profile = tls.profile
        self._server_name = server_name

    def go_on(self, inbox: list[bytes | memoryview]) -> TlsFacts | None:
        """As the server's; the first time there is nothing to take, and it makes the offer."""
        if not _go_on(self.channel, inbox, self._profile):
            return None
        return facts_of(self.channel.connection, self._server_name)

    def outgoing(self) -> bytes:
        """Take what is to be sent next; b"" if there is nothing."""
        return self.channel.outgoing()


def _go_on(
    channel: TlsChannel,
    inbox: list[bytes | memoryview],
    profile: Profile,
    hello: ClientHello | None = None,
) -> bool:
    """Give OpenSSL slice by slice until the handshake is done; False if it needs more than there is."""
    channel.feed(inbox)
    try:
        while not channel.shake_hands():
            if not channel.feed(inbox):
                return False
    except SSL.Error as error:
        raise HandshakeFailed(describe_failure(error, profile, hello), hello) from error
    return True
