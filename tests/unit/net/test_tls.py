from __future__ import annotations

import json
import os
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from OpenSSL import SSL

from relay.errors import ConfigurationError
from relay.model import Endpoint
from relay.net.channel import TlsChannel
from relay.net.tls import KeyPair, ServerTls, describe_failure, facts_of
from relay.tls.clienthello import ClientHello, HelloReader
from relay.tls.profile import INTERMEDIATE, MODERN
from tests.kit.pki import Authority, Issued, self_signed
from tests.kit.revocation import make_answer
from tests.kit.tls import NEXT_HOP, client_tls, key_pair, server_tls, shake_hands

CA = Authority()
SERVER = CA.issue("edge.example.org", dns=["edge.example.org"], usages=["server"])
CLIENT = CA.issue("client.example")
TLS12 = INTERMEDIATE._replace(versions=("TLSv1.2",))
VERSIONS = pytest.mark.parametrize("profile", [TLS12, MODERN], ids=["TLSv1.2", "TLSv1.3"])


def facts(server, client, name="edge.example.org"):
    theirs, ours, hello = shake_hands(server, client, name)
    return facts_of(theirs.connection, name, hello), facts_of(ours.connection, name)


def resume(server, client):
    """A first handshake, the first bytes, and what a second one gives."""
    theirs, ours, _ = shake_hands(server, client)
    assert ours.decrypt([theirs.encrypt(b"250 ok\r\n")]) == b"250 ok\r\n"
    client.remember("edge.example.org", NEXT_HOP, ours.connection)
    return facts(server, client)


@VERSIONS
def test_both_sides_see_the_same_and_each_others_certificates(profile) -> None:
    server, client = facts(server_tls(SERVER), client_tls(CLIENT, profile))
    assert (server.version, server.cipher) == (client.version, client.cipher)
    assert server.version == profile.versions[0]
    assert (server.cipher_bits, server.resumed, client.resumed) == (128, False, False)
    assert server.certificates == CLIENT.certificates
    assert client.certificates == SERVER.certificates
    assert server.hello is not None
    assert server.server_name == server.hello.server_name == "edge.example.org"


def test_the_key_exchange_is_post_quantum_where_both_can() -> None:
    server, client = facts(server_tls(SERVER), client_tls())
    assert server.group == client.group == "X25519MLKEM768"


def test_a_peer_without_the_post_quantum_group_gets_a_classic_one() -> None:
    old = INTERMEDIATE._replace(groups=(("prime256v1", "secp384r1"),))
    server, client = facts(server_tls(SERVER), client_tls(profile=old))
    assert server.group == client.group == "secp256r1"
    server, client = facts(server_tls(SERVER, profile=old), client_tls())
    assert server.group == client.group == "secp256r1"


def test_a_client_that_can_but_has_not_prepared_it_is_asked_for_the_post_quantum_group() -> None:
    lazy = INTERMEDIATE._replace(groups=(("X25519", "X25519MLKEM768"),))
    server, _ = facts(server_tls(SERVER), client_tls(profile=lazy))
    assert server.group == "X25519MLKEM768"


@pytest.mark.parametrize("request_certificate", [True, False])
def test_a_client_may_show_nothing(request_certificate: bool) -> None:
    server, _ = facts(server_tls(SERVER, request_certificate=request_certificate), client_tls())
    assert server.certificates == ()


def test_a_certificate_that_nobody_asked_for_is_not_shown() -> None:
    server, _ = facts(server_tls(SERVER, request_certificate=False), client_tls(CLIENT))
    assert server.certificates == ()


def test_no_ca_is_named_so_no_client_withholds_its_certificate() -> None:
    _, ours, _ = shake_hands(server_tls(SERVER), client_tls(CLIENT))
    assert ours.connection.get_client_ca_list() == []


@VERSIONS
def test_intermediates_are_sent_and_seen_on_both_sides(profile) -> None:
    below = Authority("Issuing CA", parent=Authority("Below", parent=CA))
    long_server, long_client = below.issue("edge.example.org"), below.issue("client.example")
    assert len(long_client.certificates) == 3
    server, client = facts(server_tls(long_server), client_tls(long_client, profile))
    assert server.certificates == long_client.certificates
    assert client.certificates == long_server.certificates


YEARS_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3650)
ODD = {
    "self-signed": self_signed(),
    "expired": CA.issue("old", not_before=YEARS_AGO, days=1),
    "not yet valid": CA.issue("new", not_before=datetime(2100, 1, 1, tzinfo=UTC)),
    "RSA with 1024 bits": CA.issue("weak", key="rsa1024"),
    "SHA-1": CA.issue("sha1", key="rsa2048", sha1=True),
    "only for servers": CA.issue("server", usages=["server"]),
    "only for code": CA.issue("code", usages=["code"]),
    "a CA": CA.issue("ca", ca=True),
    "not for signing": CA.issue("mute", digital_signature=False),
    "Ed25519": CA.issue("ed", key="ed25519"),
    "P-384": CA.issue("p384", key="p384"),
}


@VERSIONS
@pytest.mark.parametrize("issued", ODD.values(), ids=ODD)
def test_an_odd_certificate_finishes_the_handshake(issued: Issued, profile) -> None:
    lax = client_tls(issued=None, profile=profile)
    lax._context.set_cipher_list(b"ALL:@SECLEVEL=0")  # as old clients are
    lax._context.use_certificate(issued.cert)
    lax._context.use_privatekey(issued.key)
    server, _ = facts(server_tls(SERVER), lax)
    assert server.certificates == issued.certificates[:1]


def with_forged_signature(flight: bytes) -> bytes:
    """Change the last byte of the CertificateVerify message in a TLS 1.2 client's flight."""
    forged, at = bytearray(flight), 0
    while at < len(flight):
        end = at + 5 + int.from_bytes(flight[at + 3 : at + 5], "big")
        if flight[at] == 22 and flight[at + 5] == 15:
            forged[end - 1] ^= 1
        at = end
    assert forged != flight
    return bytes(forged)


def test_a_certificate_shown_without_its_key_does_not_pass() -> None:
    ours = TlsChannel(client_tls(CLIENT, TLS12).connect("edge.example.org", NEXT_HOP))
    ours.shake_hands()
    reader = HelloReader()
    hello = reader.feed(ours.outgoing())
    assert hello is not None
    theirs = TlsChannel(server_tls(SERVER).accept(hello))
    theirs.feed([bytes(reader.data)])
    assert not theirs.shake_hands()
    ours.feed([theirs.outgoing()])
    assert not ours.shake_hands()
    theirs.feed([with_forged_signature(ours.outgoing())])
    with pytest.raises(SSL.Error, match="signature"):
        theirs.shake_hands()


@VERSIONS
def test_sessions_resume_and_show_the_leaf_again(profile) -> None:
    server, client = resume(server_tls(SERVER), client_tls(CLIENT, profile))
    assert (server.resumed, client.resumed) == (True, True)
    assert server.certificates == CLIENT.certificates[:1]
    assert client.certificates == SERVER.certificates


def test_a_resumed_session_still_shows_the_next_hops_whole_chain() -> None:
    issued = Authority("Issuing CA", parent=CA).issue("edge.example.org")
    _, client = resume(server_tls(issued), client_tls())
    assert client.resumed
    assert client.certificates == issued.certificates


def test_a_session_is_not_resumed_at_another_next_hop() -> None:
    client = client_tls()
    resume(server_tls(SERVER), client)
    other = client.connect("edge.example.org", Endpoint("192.0.2.2", 25))
    assert other.get_session() is None
    assert client.connect("other.example.org", NEXT_HOP).get_session() is None


def test_a_ticket_of_another_server_leads_to_a_full_handshake() -> None:
    client = client_tls(CLIENT)
    resume(server_tls(SERVER), client)
    server, _ = facts(server_tls(SERVER), client)
    assert not server.resumed
    assert server.certificates == CLIENT.certificates


def test_few_sessions_are_kept() -> None:
    client = client_tls()
    theirs, ours, _ = shake_hands(server_tls(SERVER), client)
    ours.decrypt([theirs.encrypt(b"x")])
    for port in range(1000):
        client.remember("edge.example.org", Endpoint("192.0.2.1", port), ours.connection)
    assert len(client._sessions) == 256
    assert next(reversed(client._sessions)) == ("edge.example.org", Endpoint("192.0.2.1", 999))


def test_nothing_is_remembered_of_a_connection_without_a_session() -> None:
    client = client_tls()
    client.remember("edge.example.org", NEXT_HOP, client.connect("edge.example.org", NEXT_HOP))
    assert client._sessions == {}


def serve_once(server: ServerTls, end: socket.socket) -> None:
    """A worker: one handshake over a blocking socket, and its facts as JSON inside TLS."""
    reader = HelloReader()
    while (hello := reader.feed(end.recv(65_536))) is None:
        pass
    channel = TlsChannel(server.accept(hello))
    channel.feed([bytes(reader.data)])
    while not channel.shake_hands():
        end.sendall(channel.outgoing())
        channel.feed([end.recv(65_536)])
    seen = facts_of(channel.connection)
    told = {"resumed": seen.resumed, "leaf": [each.sha256 for each in seen.certificates]}
    end.sendall(channel.encrypt(json.dumps(told).encode()))
    end.recv(1)


def ask_worker(server: ServerTls, client) -> dict[str, object]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if (child := os.fork()) == 0:
            try:
                ours.close()
                serve_once(server, theirs)
            finally:
                os._exit(0)
        theirs.close()
        ours.settimeout(20)
        channel = TlsChannel(client.connect("edge.example.org", NEXT_HOP))
        while not channel.shake_hands():
            ours.sendall(channel.outgoing())
            channel.feed([ours.recv(65_536)])
        ours.sendall(channel.outgoing())
        answer = channel.decrypt([])
        while not answer:
            answer = channel.decrypt([ours.recv(65_536)])
        client.remember("edge.example.org", NEXT_HOP, channel.connection)
        channel.say_goodbye()  # else OpenSSL takes the session for a broken one
        ours.sendall(b".")
        os.waitpid(child, 0)
        return dict(json.loads(answer))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@VERSIONS
def test_a_ticket_of_one_worker_resumes_at_another(profile) -> None:
    server, client = server_tls(SERVER), client_tls(CLIENT, profile)
    leaf = [CLIENT.certificates[0].sha256]
    assert ask_worker(server, client) == {"resumed": False, "leaf": leaf}
    assert ask_worker(server, client) == {"resumed": True, "leaf": leaf}
    assert ask_worker(server, client) == {"resumed": True, "leaf": leaf}


RSA = CA.issue("edge.example.org", dns=["edge.example.org"], key="rsa2048")
OTHER = CA.issue("other.example.org", dns=["other.example.org", "*.Example.NET"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("edge.example.org", SERVER),
        ("OTHER.example.org", OTHER),
        ("mx.example.net", OTHER),
        ("unknown.example", SERVER),
        ("", SERVER),
        ("192.0.2.1", SERVER),
        ("2001:db8::1", SERVER),
    ],
)
def test_the_name_asked_for_chooses_the_certificate(name: str, expected: Issued) -> None:
    _, client = facts(server_tls(SERVER, RSA, OTHER), client_tls(), name)
    assert client.certificates == expected.certificates


@VERSIONS
def test_a_client_that_knows_rsa_only_gets_the_rsa_certificate(profile) -> None:
    client = client_tls(profile=profile)
    lib = SSL._lib  # pyOpenSSL has no call for it
    assert lib.SSL_CTX_set1_sigalgs_list(
        client._context._context, b"rsa_pss_rsae_sha256:RSA+SHA256"
    )
    _, facts_seen = facts(server_tls(SERVER, RSA), client)
    assert facts_seen.certificates == RSA.certificates


def test_a_certificate_without_names_goes_by_its_common_name() -> None:
    bare = CA.issue("Bare.example.org")
    _, client = facts(server_tls(SERVER, bare), client_tls(), "bare.example.org")
    assert client.certificates == bare.certificates


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("mx.example.org", "mx.example.org"),
        ("mx.example.org.", "mx.example.org"),
        ("m\u00fcnchen.example", "xn--mnchen-3ya.example"),
        ("2001:db8::1", ""),
        ("192.0.2.1", ""),
        ("a" * 64 + ".example", ""),
        ("mx..example", ""),
        ("", ""),
    ],
)
def test_only_host_names_are_sent_as_names(name: str, sent: str) -> None:
    _, _, hello = shake_hands(server_tls(SERVER), client_tls(), name)
    assert hello.server_name == sent


@pytest.mark.parametrize("key", ["ed25519", "p384", "rsa2048"])
def test_the_server_may_have_any_good_key(key: str) -> None:
    issued = CA.issue("edge.example.org", dns=["edge.example.org"], key=key)
    _, client = facts(server_tls(issued, OTHER), client_tls())
    assert client.certificates == issued.certificates


def test_the_server_prefers_aes_unless_the_client_prefers_chacha() -> None:
    phone = MODERN._replace(
        tls13_ciphers=("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
    )
    big = MODERN._replace(tls13_ciphers=("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"))
    server = server_tls(SERVER)
    assert facts(server, client_tls(profile=phone))[0].cipher == "TLS_CHACHA20_POLY1305_SHA256"
    assert facts(server, client_tls(profile=big))[0].cipher == "TLS_AES_128_GCM_SHA256"


class AskingClient:
    """A client that asks for an OCSP answer; `seen` holds what it was shown."""

    def __init__(self, profile) -> None:
        self._tls = client_tls(profile=profile)
        self.seen: list[bytes] = []
        self._tls._context.set_ocsp_client_callback(self._look)

    def _look(self, _, answer, __) -> bool:
        self.seen.append(answer)
        return True

    def connect(self, *where):
        connection = self._tls.connect(*where)
        connection.request_ocsp()
        return connection


@VERSIONS
def test_a_client_that_asks_is_shown_the_answer_about_its_certificate(profile) -> None:
    other = CA.issue("other.example", dns=("other.example",))
    server = server_tls(SERVER, other)
    until = time.time() + 60
    answers = {"edge.example.org": make_answer(SERVER, CA), "other.example": make_answer(other, CA)}
    for issued, answer in zip((SERVER, other), answers.values(), strict=True):
        server.staple(issued.certificates[0].sha256, answer, until)
    for name, answer in answers.items():
        client = AskingClient(profile)
        shake_hands(server, client, name)
        assert client.seen == [answer]


@VERSIONS
def test_an_answer_that_has_ended_or_that_there_is_none_of_is_not_shown(profile) -> None:
    server = server_tls(SERVER)
    sha256 = SERVER.certificates[0].sha256
    for give in (
        lambda: None,
        lambda: server.staple(sha256, make_answer(SERVER, CA), time.time() - 1),
        lambda: server.staple("of another", make_answer(SERVER, CA), time.time() + 60),
        lambda: server.staple(sha256, b"", 0.0),
    ):
        give()
        client = AskingClient(profile)
        shake_hands(server, client)
        assert client.seen == [b""]


@VERSIONS
def test_who_does_not_ask_notices_nothing_of_an_answer(profile) -> None:
    server = server_tls(SERVER)
    server.staple(SERVER.certificates[0].sha256, make_answer(SERVER, CA), time.time() + 60)
    assert facts(server, client_tls(profile=profile))[1].certificates == SERVER.certificates


def raw_client(minimum: int, maximum: int, ciphers: bytes = b"ALL:@SECLEVEL=0"):
    """A client of some other program, as weak as it gets."""
    client = client_tls()
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    context.set_cipher_list(ciphers)
    client._context = context
    return client


@pytest.mark.parametrize(
    ("server", "client", "reason"),
    [
        (INTERMEDIATE, (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION), "client offered TLSv1.1 at best"),
        (MODERN, (SSL.TLS1_VERSION, SSL.TLS1_2_VERSION), "client offered TLSv1.2 at best"),
        (INTERMEDIATE, (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION, b"AES128-SHA256"), "no shared cipher"),
        (INTERMEDIATE, (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES128-SHA256"), "no shared cipher"),
        (INTERMEDIATE, (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION, b"aNULL:@SECLEVEL=0"), "no shared cipher"),
    ],
)  # fmt: skip
def test_a_failed_handshake_has_a_reason_and_sends_an_alert(server, client, reason) -> None:
    ours = TlsChannel(raw_client(*client).connect("edge.example.org", NEXT_HOP))
    ours.shake_hands()
    reader = HelloReader()
    hello = reader.feed(ours.outgoing())
    assert isinstance(hello, ClientHello)
    theirs = TlsChannel(server_tls(SERVER, profile=server).accept(hello))
    theirs.feed([bytes(reader.data)])
    with pytest.raises(SSL.Error) as caught:
        theirs.shake_hands()
    assert reason in describe_failure(caught.value, server, hello)
    assert theirs.outgoing()[0] == 21  # an alert record


def test_renegotiation_is_refused() -> None:
    client = raw_client(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
    theirs, ours, _ = shake_hands(server_tls(SERVER), client)
    ours.connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        ours.connection.do_handshake()
    assert theirs.decrypt([ours.outgoing()]) == b""
    refusal = theirs.outgoing()
    assert refusal[0] == 21
    ours.decrypt([refusal])
    assert "renegotiation" in ours.problem


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (KeyPair(SERVER.certificates, CLIENT.key), "key values mismatch"),
        (KeyPair(SERVER.certificates, RSA.key), "cannot be used with its key"),
        (key_pair(ODD["RSA with 1024 bits"]), "ee key too small"),
        (KeyPair(SERVER.certificates, x25519.X25519PrivateKey.generate()), "its key"),
    ],
    ids=["other key", "other kind of key", "weak key", "no key for TLS"],
)  # fmt: skip
def test_a_certificate_that_cannot_be_used_is_the_operators_mistake(pair, words) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ServerTls([pair], INTERMEDIATE, request_certificate=True, session_id=b"test")


def test_a_group_that_openssl_does_not_know_is_said() -> None:
    with pytest.raises(ValueError, match="groups nonsense"):
        server_tls(SERVER, profile=INTERMEDIATE._replace(groups=(("nonsense",),)))
