from __future__ import annotations

import pytest

from relay.errors import HandshakeFailed
from relay.net.handshake import ClientHandshake, ServerHandshake
from relay.tls.profile import INTERMEDIATE, MODERN
from tests.kit.pki import Authority
from tests.kit.tls import NEXT_HOP, client_tls, server_tls

CA = Authority()
SERVER = CA.issue("edge.example.org", dns=["edge.example.org"], usages=["server"])
CLIENT = CA.issue("client.example")
TLS12 = INTERMEDIATE._replace(versions=("TLSv1.2",))
VERSIONS = pytest.mark.parametrize("profile", [TLS12, MODERN], ids=["TLSv1.2", "TLSv1.3"])


def client(*, profile=MODERN, tls=None) -> ClientHandshake:
    return ClientHandshake(tls or client_tls(CLIENT, profile), "edge.example.org", NEXT_HOP)


def server(profile=INTERMEDIATE) -> ServerHandshake:
    return ServerHandshake(server_tls(SERVER, profile=profile))


def offer(handshake: ClientHandshake) -> bytes:
    assert handshake.go_on([]) is None
    return handshake.outgoing()


def finish(theirs: ServerHandshake, ours: ClientHandshake, *, piece: int = 16_384):
    """Carry everything to and fro, cut into pieces; return what both sides have got in the end."""
    seen, known, to_server = None, None, offer(ours)
    for _ in range(2):
        for at in range(0, len(to_server), piece):
            seen = theirs.go_on([to_server[at : at + piece]])
        if known is None:  # in TLS 1.3 the client is done first
            known = ours.go_on([theirs.outgoing()])
            to_server = ours.outgoing()
    return seen, known


@VERSIONS
def test_both_sides_know_who_is_there_in_the_end(profile) -> None:
    seen, known = finish(server(), client(profile=profile))
    assert seen.version == known.version == profile.versions[0]
    assert seen.certificates == CLIENT.certificates
    assert known.certificates == SERVER.certificates
    assert seen.server_name == known.server_name == "edge.example.org"
    assert seen.hello is not None
    assert known.hello is None


@VERSIONS
@pytest.mark.parametrize("piece", [1, 7, 500])
def test_messages_may_come_in_pieces(profile, piece: int) -> None:
    seen, known = finish(server(), client(profile=profile), piece=piece)
    assert seen.cipher == known.cipher


def test_there_is_nothing_of_openssl_before_the_whole_offer_is_there() -> None:
    theirs, hello = server(), offer(client())
    assert theirs.go_on([]) is None
    assert theirs.go_on([hello[:-1]]) is None
    assert theirs.channel is None
    assert theirs.hello is None
    assert theirs.outgoing() == b""
    assert theirs.go_on([hello[-1:]]) is None
    assert theirs.channel is not None
    assert theirs.hello is not None
    assert theirs.outgoing() != b""


@pytest.mark.parametrize("words", [b"RSET\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"\x80\x2e\x01"])
def test_what_is_no_offer_gets_an_alert_and_no_openssl(words: bytes) -> None:
    theirs = server()
    with pytest.raises(HandshakeFailed, match="not a TLS ClientHello"):
        theirs.go_on([words])
    assert theirs.outgoing() == b"\x15\x03\x01\x00\x02\x02\x0a"  # unexpected_message
    assert theirs.channel is None


def test_a_refused_offer_is_told_with_an_alert_and_kept_for_the_record() -> None:
    theirs, ours = server(MODERN), client(profile=TLS12)
    with pytest.raises(HandshakeFailed, match="client offered TLSv1.2 at best") as caught:
        theirs.go_on([offer(ours)])
    assert caught.value.hello is not None
    assert caught.value.hello == theirs.hello
    with pytest.raises(HandshakeFailed, match="alert"):
        ours.go_on([theirs.outgoing()])


def test_words_in_clear_instead_of_the_servers_answer_fail_the_client() -> None:
    ours = client()
    offer(ours)
    with pytest.raises(HandshakeFailed) as caught:
        ours.go_on([b"250 injected\r\n"])
    assert caught.value.hello is None


@VERSIONS
def test_tickets_of_tls13_wait_for_what_comes_next(profile) -> None:
    theirs, ours = server(), client(profile=profile)
    finish(theirs, ours)
    assert theirs.outgoing() == b""
    assert theirs.channel is not None
    tickets = theirs.channel.outgoing()
    assert (len(tickets) > 1000) == (profile is MODERN)


@VERSIONS
def test_a_session_is_resumed_once_the_server_has_spoken(profile) -> None:
    to_accept, to_connect = server_tls(SERVER), client_tls(CLIENT, profile)
    resumed = []
    for greeting in (b"", b"220 ready\r\n", b"220 ready\r\n"):
        theirs, ours = ServerHandshake(to_accept), client(tls=to_connect)
        resumed.append([each.resumed for each in finish(theirs, ours)])
        assert theirs.channel is not None
        if greeting:
            ours.channel.decrypt([theirs.channel.encrypt(greeting)])
        ours.channel.forget()
    assert resumed == [[False, False], [False, False], [True, True]]


@pytest.mark.parametrize("size", [1, 100_000])
def test_what_comes_behind_the_handshake_is_left_to_the_channel(size: int) -> None:
    theirs, ours = server(), client()
    theirs.go_on([offer(ours)])
    assert ours.go_on([theirs.outgoing()]) is not None
    inbox: list[bytes | memoryview] = [ours.outgoing() + ours.channel.encrypt(bytes(size))]
    assert theirs.go_on(inbox) is not None
    assert theirs.channel is not None
    assert theirs.channel.decrypt(inbox) == bytes(size)
