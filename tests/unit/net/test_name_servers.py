"""Name servers as the settings and the system name them."""

import pytest

from relay.model import Endpoint
from relay.net.name_servers import (
    NameServer,
    find_name_servers,
    parse_name_server,
    parse_resolv_conf,
)


@pytest.mark.parametrize(
    ("text", "address", "port", "tls_name", "out_of_reach"),
    [
        ("192.0.2.53", "192.0.2.53", 53, "", False),
        ("192.0.2.53:5353", "192.0.2.53", 5353, "", False),
        ("127.0.0.53", "127.0.0.53", 53, "", True),
        ("::1", "::1", 53, "", True),
        ("2001:db8::53", "2001:db8::53", 53, "", False),
        ("[2001:db8::53]", "2001:db8::53", 53, "", False),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353, "", False),
        ("tls://192.0.2.53#dns.example.org", "192.0.2.53", 853, "dns.example.org", True),
        ("tls://192.0.2.53:8853#dns.example.org", "192.0.2.53", 8853, "dns.example.org", True),
        ("tls://2001:db8::53#dns.example.org", "2001:db8::53", 853, "dns.example.org", True),
    ],
)
def test_a_name_server_is_read(text, address, port, tls_name, out_of_reach):
    server = parse_name_server(text)
    assert server == NameServer(Endpoint(address, port), tls_name)
    assert server.is_out_of_reach is out_of_reach


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dns.example.org", "is a name"),
        ("", "no address"),
        ("192.0.2.53:99999", "99999"),
        ("192.0.2.300", "192.0.2.300"),
        ("tls://192.0.2.53", "what name the server must prove"),
        ("tls://192.0.2.53#", "what name the server must prove"),
        ("tls://192.0.2.53#not a name", "what name the server must prove"),
        ("192.0.2.53#dns.example.org", "no TLS to prove it"),
        ("https://192.0.2.53/dns-query", "no address"),
        ("[2001:db8::53", "no address"),
    ],
)
def test_what_is_no_name_server_says_how_to_write_it(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        parse_name_server(text)
    assert "write it as" in str(caught.value)


def test_a_name_server_is_spelled_as_it_is_written():
    for text in ("192.0.2.53:53", "[2001:db8::53]:53", "tls://192.0.2.53:853#dns.example.org"):
        assert str(parse_name_server(text)) == text


def test_resolv_conf_is_read_as_libc_does():
    text = (
        "# made by hand\n; and this\nsearch example.org\nnameserver 192.0.2.1\n"
        "nameserver 2001:db8::1 # second\nnameserver nonsense\nnameserver\n"
        "options timeout:1\n nameserver\t192.0.2.2\n"
    )
    assert [server.endpoint.address for server in parse_resolv_conf(text)] == [
        "192.0.2.1",
        "2001:db8::1",
        "192.0.2.2",
    ]


def test_the_settings_come_before_the_system(tmp_path):
    system = tmp_path / "resolv.conf"
    system.write_text("nameserver 192.0.2.1\n")
    assert find_name_servers(["192.0.2.9"], system) == (parse_name_server("192.0.2.9"),)
    assert find_name_servers([], system) == (parse_name_server("192.0.2.1"),)


@pytest.mark.parametrize("content", [None, "", "search example.org\n"])
def test_without_any_it_is_this_machine(content, tmp_path):
    system = tmp_path / "resolv.conf"
    if content is not None:
        system.write_text(content)
    assert find_name_servers([], system) == (parse_name_server("127.0.0.1"),)
