"""TLS for tests: contexts from the certificate factory, and handshakes without any socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model import Endpoint
from relay.net.channel import TlsChannel
from relay.net.tls import ClientTls, KeyPair, ServerTls
from relay.tls.clienthello import HelloReader
from relay.tls.profile import INTERMEDIATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.tls.clienthello import ClientHello
    from relay.tls.profile import Profile
    from tests.kit.pki import Issued

__all__ = ["NEXT_HOP", "client_tls", "key_pair", "server_tls", "shake_hands"]

NEXT_HOP = Endpoint("192.0.2.1", 25)


def key_pair(issued: Issued) -> KeyPair:
    """A certificate of the factory as the relay takes it."""
    return KeyPair(issued.certificates, issued.key)


def server_tls(
    *issued: Issued, profile: Profile = INTERMEDIATE, request_certificate: bool = True
) -> ServerTls:
    """The server's side with these certificates."""
    pairs = [key_pair(each) for each in issued]
    return ServerTls(pairs, profile, request_certificate=request_certificate, session_id=b"test")


def client_tls(issued: Issued | None = None, profile: Profile = INTERMEDIATE) -> ClientTls:
    """The client's side, with a certificate or without."""
    return ClientTls(None if issued is None else key_pair(issued), profile)


def shake_hands(
    server: ServerTls, client: ClientTls, server_name: str = "edge.example.org"
) -> tuple[TlsChannel, TlsChannel, ClientHello]:
    """Do a whole handshake in memory: the server's channel, the client's, and the offer."""
    ours = TlsChannel(client.connect(server_name, NEXT_HOP))
    assert not ours.shake_hands()
    reader = HelloReader()
    hello = reader.feed(ours.outgoing())
    assert hello is not None
    theirs = TlsChannel(server.accept(hello))
    theirs.feed([bytes(reader.data)])
    while not _both_done(theirs, ours):
        pass
    return theirs, ours, hello


def _both_done(theirs: TlsChannel, ours: TlsChannel) -> bool:
    done: Sequence[bool] = []
    for here, there in ((theirs, ours), (ours, theirs)):
        done = [*done, here.shake_hands()]
        if sealed := here.outgoing():
            there.feed([sealed])
    return all(done)
