"""Which route takes a domain."""

from __future__ import annotations

import pytest

from relay.outbound.routes import Host, Route, RouteTable, parse_host
from relay.settings.route import Route as RouteSettings

HOP = RouteSettings(hosts=("mx.internal:25",))


def table(*names: str, hostname: str = "edge.example.org") -> RouteTable:
    return RouteTable(
        [Route(name, (Host("mx.internal", 25),), HOP) for name in names], hostname=hostname
    )


def found(routes: RouteTable, domain: str, *, identified: bool = False) -> str | None:
    route = routes.find(domain, identified=identified)
    return route.name if route else None


ROUTES = table(
    "*",
    "example.org",
    "*.example.org",
    "*.deep.example.org",
    "[192.0.2.1]",
    "bücher.example",
    "Straße.example",
)


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("example.org.", "example.org"),
        ("a.example.org", "*.example.org"),
        ("b.a.example.org", "*.example.org"),
        ("deep.example.org", "*.example.org"),
        ("a.deep.example.org", "*.deep.example.org"),
        ("b.a.deep.example.org", "*.deep.example.org"),
        ("notexample.org", None),
        ("example.org.evil", None),
        ("org", None),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[192.0.2.2]", None),
        ("xn--bcher-kva.example", "bücher.example"),
        ("BÜCHER.example", "bücher.example"),
        ("bu\u0308cher.example", "bücher.example"),
        ("straße.example", "Straße.example"),
        ("xn--strae-oqa.example", "Straße.example"),
        ("strasse.example", None),
    ],
)  # fmt: skip
def test_a_domain_finds_its_route(domain: str, name: str | None) -> None:
    assert found(ROUTES, domain) == name


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("elsewhere.example", "*"),
        ("example.org", "example.org"),
        ("[192.0.2.2]", None),
        ("[IPv6:2001:db8::1]", None),
    ],
)
def test_the_default_route_is_for_identified_senders(domain: str, name: str | None) -> None:
    assert found(ROUTES, domain, identified=True) == name
    if name == "*":
        assert found(ROUTES, domain, identified=False) is None


def test_without_a_default_route_nobody_is_relayed_elsewhere() -> None:
    assert found(table("example.org"), "elsewhere.example", identified=True) is None


@pytest.mark.parametrize(
    ("names", "hostname", "name"),
    [
        (["*", "a.example", "edge.example.org"], "edge.example.org", "edge.example.org"),
        (["*", "a.example", "*.example.org"], "edge.example.org", "*.example.org"),
        (["*", "a.example", "b.example"], "edge.example.org", "a.example"),
        (["*"], "edge.example.org", "*"),
    ],
)
def test_the_bare_postmaster_always_has_a_route(names: list[str], hostname: str, name: str) -> None:
    assert found(table(*names, hostname=hostname), "") == name


def test_the_same_route_is_the_same_object() -> None:
    assert ROUTES.find("a.example.org", identified=False) is ROUTES.find(
        "b.example.org", identified=True
    )


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("mx.internal:2525", "mx.internal", 2525),
        ("mx.internal", "mx.internal", 25),
        ("192.0.2.1:26", "192.0.2.1", 26),
        ("[2001:db8::1]:26", "2001:db8::1", 26),
        ("[2001:db8::1]", "2001:db8::1", 25),
        ("2001:db8::1", "2001:db8::1", 25),
        ("localhost:1", "localhost", 1),
    ],
)
def test_reads_a_host(text: str, name: str, port: int) -> None:
    assert parse_host(text) == Host(name, port)


@pytest.mark.parametrize(
    "text",
    ["", ":25", "mx:", "mx:0", "mx:65536", "mx:smtp", "mx:-1", "mx:²", "[::1", "[mx]:25", "[::1]25", "a:b:c", "smtp://mx", "m x:25", "a@mx", "mx\n:25"],
)  # fmt: skip
def test_refuses_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError):
        parse_host(text)


def test_a_host_is_written_as_it_is_read() -> None:
    for text in ("mx.internal:2525", "[2001:db8::1]:26"):
        assert str(parse_host(text)) == text


def test_the_server_name_is_the_hosts_unless_configured() -> None:
    host = Host("10.0.0.1", 25)
    assert Route("a", (host,), HOP).server_name(host) == "10.0.0.1"
    named = HOP.model_copy(update={"server_name": "mx.example.org"})
    assert Route("a", (host,), named).server_name(host) == "mx.example.org"
