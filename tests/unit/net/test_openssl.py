from __future__ import annotations

import pytest
from OpenSSL import SSL

from relay.net.openssl import describe_error, set_groups


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
