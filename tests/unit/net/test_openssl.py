from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from OpenSSL import SSL, crypto

from relay.net.openssl import (
    _LIBRARY,
    Records,
    ask_for_certificate,
    describe_error,
    set_groups,
)
from tests.kit.pki import Authority, self_signed


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SSL.Error([("SSL routines", "", "no shared cipher")]), "no shared cipher"),
        (SSL.Error([("SSL routines", "", "one"), ("x", "", ""), ("x", "", "two")]), "one; two"),
        (SSL.Error([]), "TLS failed without a reason"),
        (SSL.Error(), "TLS failed without a reason"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "unexpected end of the connection"),
    ],
)
def test_errors_are_described_on_one_line(error: SSL.Error, words: str) -> None:
    assert describe_error(error) == words


def test_unknown_groups_are_refused_and_leave_no_error_behind() -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    with pytest.raises(ValueError, match="X25519:nonsense"):
        set_groups(context, "X25519:nonsense")
    set_groups(context, "X25519MLKEM768/X25519:prime256v1")


ODD_NAMES = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x05junk!")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # pyOpenSSL would rather have its own types
def test_a_certificate_that_is_let_pass_leaves_no_error_for_other_connections() -> None:
    def side(method: int, issued) -> SSL.Connection:
        context = SSL.Context(method)
        ask_for_certificate(context)
        context.use_privatekey(crypto.PKey.from_cryptography_key(issued.key))
        context.use_certificate(crypto.X509.from_cryptography(issued.certificates[0].x509))
        return SSL.Connection(context, None)

    stranger = Authority("CA").issue("x", extensions=[(ODD_NAMES, True)])
    server = side(SSL.TLS_SERVER_METHOD, self_signed("edge.example"))
    client = side(SSL.TLS_CLIENT_METHOD, stranger)
    server.set_accept_state()
    client.set_connect_state()
    records, is_done = Records(server), False
    while not is_done:
        with suppress(SSL.WantReadError):
            client.do_handshake()
        records.feed(client.bio_read(65_536))
        is_done = records.shake_hands()
        if not is_done:
            client.bio_write(records.outgoing())
    assert _LIBRARY.ERR_peek_error() == 0
