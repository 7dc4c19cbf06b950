from __future__ import annotations

import pytest

from relay.net.channel import TlsChannel
from relay.net.openssl import _held_bytes, negotiated
from relay.tls.profile import INTERMEDIATE, MODERN
from tests.kit.pki import Authority
from tests.kit.tls import NEXT_HOP, client_tls, server_tls, shake_hands

CA = Authority()
SERVER = CA.issue("edge.example.org", usages=["server"])
TLS12 = INTERMEDIATE._replace(versions=("TLSv1.2",))
VERSIONS = pytest.mark.parametrize("profile", [TLS12, MODERN], ids=["TLSv1.2", "TLSv1.3"])


def pair(profile=MODERN):
    theirs, ours, _ = shake_hands(server_tls(SERVER), client_tls(profile=profile))
    assert ours.decrypt([]) == b""  # takes the tickets in
    return theirs, ours


@VERSIONS
@pytest.mark.parametrize("size", [1, 16_384, 16_385, 1_000_000])
def test_bytes_come_out_as_they_went_in(profile, size: int) -> None:
    theirs, ours = pair(profile)
    data = bytes(range(256)) * (size // 256 + 1)
    for here, there in ((theirs, ours), (ours, theirs)):
        assert there.decrypt([here.encrypt(data[:size])]) == data[:size]
        assert here.outgoing() == b""


def test_records_may_be_cut_anywhere() -> None:
    theirs, ours = pair()
    sealed = ours.encrypt(b"MAIL FROM:<>\r\n")
    sealed += ours.encrypt(b"RCPT TO:<a@example.org>\r\n")
    plain = b"".join(theirs.decrypt([sealed[at : at + 1]]) for at in range(len(sealed)))
    assert plain == b"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"


def test_what_comes_with_the_last_flight_of_the_handshake_is_not_lost() -> None:
    theirs, ours = pair()
    theirs.feed([ours.encrypt(b"EHLO x\r\n")])  # inside OpenSSL before anybody has asked
    assert theirs.decrypt([]) == b"EHLO x\r\n"
    assert theirs.decrypt([]) == b""


def test_close_notify_is_the_end() -> None:
    theirs, ours = pair()
    sealed = ours.encrypt(b"QUIT\r\n")
    ours.say_goodbye()
    assert theirs.decrypt([sealed, ours.outgoing()]) == b"QUIT\r\n"
    assert theirs.is_over
    assert theirs.problem == ""


def test_a_record_that_was_tampered_with_ends_it_with_an_alert() -> None:
    theirs, ours = pair()
    sealed = bytearray(ours.encrypt(b"MAIL FROM:<a@example.org>\r\n"))
    sealed[-1] ^= 1
    inbox: list[bytes | memoryview] = [bytes(sealed), b"more"]
    assert theirs.decrypt(inbox) == b""
    assert theirs.problem.startswith("TLS failed: ")
    assert inbox == []
    assert theirs.outgoing() != b""


def test_what_was_good_before_the_bad_is_handed_out() -> None:
    theirs, ours = pair()
    sealed = ours.encrypt(b"NOOP\r\n")
    assert theirs.decrypt([sealed, b"\x17\x03\x03\x00\x05abcde"]) == b"NOOP\r\n"
    assert theirs.problem


def test_an_alert_of_the_peer_is_named() -> None:
    theirs, ours = pair(TLS12)
    theirs.decrypt([b"\x17\x03\x03\x00\x05abcde"])
    assert ours.decrypt([theirs.outgoing()]) == b""
    assert "alert" in ours.problem


def test_nothing_is_sealed_after_goodbye() -> None:
    theirs, ours = pair()
    ours.say_goodbye()
    words = ours.encrypt(b"too late")
    assert ours.problem
    theirs.decrypt([words])
    assert theirs.is_over


def test_goodbye_in_the_middle_of_a_handshake_does_no_harm() -> None:
    ours = TlsChannel(client_tls().connect("edge.example.org", NEXT_HOP))
    ours.shake_hands()
    ours.say_goodbye()


def test_something_can_be_done_at_the_first_bytes_and_only_then() -> None:
    theirs, ours = pair()
    calls: list[str] = []
    ours.on_first_bytes(lambda: calls.append("ticket"))
    ours.decrypt([])
    assert calls == []
    for _ in range(2):
        ours.decrypt([theirs.encrypt(b"220 ready\r\n")])
    assert calls == ["ticket"]


@VERSIONS
def test_a_session_ended_without_goodbye_resumes_all_the_same(profile) -> None:
    server, client = server_tls(SERVER), client_tls(profile=profile)
    theirs, ours, _ = shake_hands(server, client)
    ours.decrypt([theirs.encrypt(b"220 ready\r\n")])
    client.remember("edge.example.org", NEXT_HOP, ours.connection)
    ours.forget()
    del ours, theirs
    theirs, ours, _ = shake_hands(server, client)
    assert negotiated(theirs.connection).resumed
    assert negotiated(ours.connection).resumed


def test_a_rest_gives_grown_buffers_back_and_harms_nothing() -> None:
    theirs, ours = pair()
    theirs.decrypt([ours.encrypt(bytes(100_000))])
    for channel in (theirs, ours):
        assert channel.has_grown
        channel.rest()
        assert channel.has_grown, "in use a moment ago"
        channel.rest()
        assert not channel.has_grown
    assert theirs.decrypt([ours.encrypt(b"NOOP\r\n")]) == b"NOOP\r\n"


def test_a_rest_in_the_middle_of_a_record_loses_nothing() -> None:
    theirs, ours = pair()
    sealed = ours.encrypt(bytes(100_000))
    plain = theirs.decrypt([sealed[:90_000]])
    theirs.rest()
    theirs.rest()
    assert plain + theirs.decrypt([sealed[90_000:]]) == bytes(100_000)


def test_a_rest_keeps_buffers_that_hold_something() -> None:
    theirs, ours = pair()
    theirs.feed([ours.encrypt(bytes(10_000))])
    theirs.rest()
    theirs.rest()
    assert theirs.has_grown
    assert theirs.decrypt([]) == bytes(10_000)
    theirs.rest()
    theirs.rest()
    assert _held_bytes(theirs.connection._into_ssl) == 0
    assert not theirs.has_grown


def test_a_small_exchange_needs_no_new_buffers() -> None:
    theirs, ours = pair()
    theirs.rest()
    theirs.decrypt([ours.encrypt(b"NOOP\r\n")])
    assert not theirs.has_grown
