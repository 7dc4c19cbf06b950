"""Whether a certificate vouches for a server's name."""

import pytest

from relay.pki.server_names import is_name_of_server, vouches_for_server
from tests.kit.pki import Authority

CA = Authority()


@pytest.mark.parametrize(
    ("stated", "asked", "expected"),
    [
        (["mx.example.org"], "mx.example.org", True),
        (["mx.example.org"], "MX.Example.Org.", True),
        (["mx.example.org."], "mx.example.org", True),
        (["xn--bcher-kva.example"], "bücher.example", True),
        (["mx.example.org"], "mx.example.net", False),
        (["mx.example.org"], "a.mx.example.org", False),
        (["example.org"], "mx.example.org", False),
        (["*.example.org"], "mx.example.org", True),
        (["*.example.org"], "a.mx.example.org", False),
        (["*.example.org"], "example.org", False),
        (["*.org"], "example.org", False),
        (["*"], "localhost", False),
        (["m*.example.org"], "mx.example.org", False),
        (["*x.example.org"], "mx.example.org", False),
        (["mx.*.org"], "mx.example.org", False),
        (["*.*.org"], "mx.example.org", False),
        (["localhost"], "localhost", True),
        (["*.example.org"], "*.example.org", False),
        (["192.0.2.1"], "192.0.2.1", False),
        ([], "mx.example.org", False),
    ],
)
def test_dns_names(stated, asked, expected):
    (certificate,) = CA.issue("mx.example.org", dns=stated).certificates
    assert vouches_for_server(certificate, asked) is expected


@pytest.mark.parametrize(
    ("stated", "asked", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", False),
    ],
)
def test_addresses(stated, asked, expected):
    (certificate,) = CA.issue(ip=[stated]).certificates
    assert vouches_for_server(certificate, asked) is expected


@pytest.mark.parametrize("kind", ["uri", "email"])
def test_names_of_another_kind_do_not_count(kind):
    value = {"uri": "dns:mx.example.org", "email": "a@mx.example.org"}[kind]
    (certificate,) = CA.issue(**{kind: [value]}).certificates
    assert not vouches_for_server(certificate, "mx.example.org")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mx.example.org", True),
        ("MX.example.org.", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("_mta.example.org", True),
        ("not a name", False),
        ("*.example.org", False),
        ("", False),
        (".example.org", False),
        ("a" * 64 + ".example", False),
    ],
)
def test_what_can_be_a_servers_name(name, expected):
    assert is_name_of_server(name) is expected
