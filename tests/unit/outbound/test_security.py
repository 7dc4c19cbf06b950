"""Is the next hop who its route says?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from relay.outbound.routes import Host, Route
from relay.outbound.security import PeerCheck
from relay.pki.certificate import Certificate
from relay.settings.route import Route as RouteSettings
from tests.kit.pki import Authority, Issued, self_signed
from tests.kit.stream import TLS13

NOW = datetime.now(UTC)
ROOT = Authority("Root")
OTHER_ROOT = Authority("Other root")
SUB = Authority("Sub", parent=ROOT)
NAME = "mx.example.org"


def check(
    *anchors: Authority, host: str = NAME, pins: tuple[str, ...] = (), **options: Any
) -> PeerCheck:
    route = Route(
        "example.org",
        (Host(host, 25),),
        RouteSettings(hosts=(f"{host}:25",), **options),
        anchors=tuple(anchor.certificate for anchor in anchors),
        pins=pins,
    )
    return PeerCheck(route, route.hosts[0])


def objection(checked: PeerCheck, issued: Issued, now: datetime = NOW) -> str:
    return checked.objection(replace(TLS13, certificates=issued.certificates), now) or ""


def server(authority: Authority = ROOT, **options: Any) -> Issued:
    return authority.issue(**{"name": NAME, "dns": (NAME,), "usages": ("server",), **options})


GOOD = {
    "issued by the root": server(),
    "an Ed25519 key": server(key="ed25519"),
    "issued by an intermediate": server(SUB),
    "wildcard": server(dns=("*.example.org",)),
    "no usage at all": server(usages=(), key_usage=False),
    "client and server": server(usages=("client", "server")),
    "any usage": server(usages=("any",)),
    "name in another case": server(dns=("MX.Example.ORG",)),
    "rsa": server(key="rsa2048"),
}


@pytest.mark.parametrize("issued", GOOD.values(), ids=GOOD)
def test_a_good_chain_with_the_right_name_is_believed(issued: Issued) -> None:
    assert objection(check(ROOT), issued) == ""


@pytest.mark.parametrize("key", ["ed25519", "p384", "rsa3072"])
def test_a_ca_of_any_strong_key_is_believed(key: str) -> None:
    root = Authority("Strong", key)
    assert objection(check(root), server(Authority("Sub", key, parent=root))) == ""
    assert objection(check(root), server(Authority("Strong", key)))


def test_the_right_one_of_two_cas_of_one_name_is_found() -> None:
    first, second = Authority("Twin"), Authority("Twin")
    assert objection(check(first, second), server(second)) == ""


NOT_A_CA = ROOT.issue(name="Not a CA", dns=(NAME,), usages=("server",))
BAD = {
    "another root": (server(OTHER_ROOT), "not good for mx.example.org"),
    "another name": (server(dns=("mx.example.net",)), "it has another name"),
    "name in CN only": (server(dns=()), "it has another name"),
    "wildcard one label too high": (server(dns=("*.org",)), ""),
    "wildcard of a deeper name": (server(dns=("*.mx.example.org",)), "it has another name"),
    "an address, not a name": (server(dns=(), ip=("192.0.2.1",)), "it has another name"),
    "expired": (server(days=1, not_before=NOW - timedelta(days=9)), "the certificate expired on"),
    "not yet valid": (server(not_before=NOW + timedelta(days=1)), "is not valid before"),
    "for clients only": (server(usages=("client",)), "not made for servers"),
    "weak key": (server(key="rsa1024"), "weak"),
    "self-signed": (self_signed(NAME, dns=(NAME,), usages=("server",)), "not good"),
}


@pytest.mark.parametrize(("issued", "why"), BAD.values(), ids=BAD)
def test_anything_else_is_not(issued: Issued, why: str) -> None:
    said = objection(check(ROOT), issued)
    assert said
    assert why in said


def test_an_intermediate_that_was_not_sent_is_missed() -> None:
    issued = server(SUB)
    alone = replace(TLS13, certificates=issued.certificates[:1])
    assert check(ROOT).objection(alone, NOW)


def below(made: Issued) -> Authority:
    """Let any certificate act as a CA under the root."""
    authority = Authority(parent=ROOT)
    authority.key, authority.name, authority.cert = made.key, made.cert.subject, made.cert
    return authority


def test_a_leaf_cannot_issue() -> None:
    assert "is used as a CA and is none" in objection(check(ROOT), server(below(NOT_A_CA)))


@pytest.mark.parametrize("signs", [True, False])
def test_a_ca_must_be_allowed_to_sign(signs: bool) -> None:
    usage = x509.KeyUsage(True, False, False, False, False, signs, False, False, False)  # noqa: FBT003
    made = ROOT.issue("Sub", ca=True, usages=(), key_usage=False, extensions=[(usage, True)])
    assert (objection(check(ROOT), server(below(made))) == "") is signs


def test_a_ca_whose_path_is_limited_cannot_make_another() -> None:
    short = Authority("Short", parent=ROOT, path_length=0)
    assert objection(check(ROOT), server(short)) == ""
    assert objection(check(ROOT), server(Authority("Below", parent=short)))


def test_name_constraints_of_a_ca_hold() -> None:
    only_net = x509.NameConstraints([x509.DNSName("example.net")], None)
    limited = Authority("Limited", parent=ROOT, extensions=[(only_net, True)])
    assert objection(check(ROOT), server(limited))
    assert (
        objection(check(ROOT, host="a.example.net"), server(limited, dns=("a.example.net",))) == ""
    )


def test_an_expired_intermediate_is_not_believed() -> None:
    old = Authority("Old", parent=ROOT, days=1, not_before=NOW - timedelta(days=9))
    assert objection(check(ROOT), server(old))


def test_a_pinned_leaf_among_the_anchors_is_believed_as_itself() -> None:
    issued = self_signed(NAME, dns=(NAME,), usages=("server",))
    route = Route("a", (Host(NAME, 25),), RouteSettings(hosts=(NAME,)), anchors=issued.certificates)
    assert objection(PeerCheck(route, route.hosts[0]), issued) == ""


@pytest.mark.parametrize(
    ("host", "server_name", "issued", "is_good"),
    [
        ("192.0.2.1", "", server(dns=(), ip=("192.0.2.1",)), True),
        ("2001:db8::1", "", server(dns=(), ip=("2001:db8::1",)), True),
        ("192.0.2.1", "", server(dns=(), ip=("192.0.2.2",)), False),
        ("192.0.2.1", "", server(dns=("192.0.2.1",)), False),  # RFC 9525: an address is no DNS-ID
        ("192.0.2.1", NAME, server(), True),
        ("10.0.0.1", NAME, server(dns=("mx.example.net",)), False),
        ("mx.example.org.", "", server(), True),
        ("not a name", "", server(), False),
    ],
)
def test_the_name_is_the_hosts_or_the_configured_one(
    host: str, server_name: str, issued: Issued, is_good: bool
) -> None:
    checked = check(ROOT, host=host, server_name=server_name)
    assert (objection(checked, issued) == "") is is_good


def test_a_route_without_anchors_believes_nobody() -> None:
    assert objection(check(), server()) == "the route has no CA to trust"


@pytest.mark.parametrize("tls", ["verify", "fingerprint"])
def test_who_presents_no_certificate_is_not_believed(tls: str) -> None:
    assert check(ROOT, tls=tls).objection(TLS13, NOW)


def test_a_certificate_that_cannot_be_read_is_not_believed() -> None:
    facts = replace(TLS13, certificates=(Certificate(b"\x30\x03nonsense"),))
    assert check(ROOT).objection(facts, NOW)
    assert check(tls="fingerprint", pins=("spki:sha256:00",)).objection(facts, NOW)


PINNED = self_signed("anything", days=1, not_before=NOW - timedelta(days=9))


@pytest.mark.parametrize(
    ("pins", "is_good"),
    [
        ((PINNED.pin,), True),
        ((PINNED.cert_pin,), True),
        ((server().pin, PINNED.pin), True),
        ((server().pin,), False),
        ((), False),
        ((PINNED.pin.replace("spki", "cert"),), False),
    ],
)
def test_a_pin_is_enough_and_nothing_else_is(pins: tuple[str, ...], is_good: bool) -> None:
    checked = check(ROOT, tls="fingerprint", pins=pins)
    assert (objection(checked, PINNED) == "") is is_good


def test_only_the_leaf_can_match_a_pin() -> None:
    issued = server(SUB)
    sub_pin = f"spki:sha256:{SUB.certificate.spki_sha256}"
    assert objection(check(ROOT, tls="fingerprint", pins=(sub_pin,)), issued)


def test_a_resumed_session_without_intermediates_is_checked_again() -> None:
    issued, checked = server(SUB), check(ROOT)
    resumed = replace(TLS13, resumed=True, certificates=issued.certificates[:1])
    assert objection(checked, issued) == ""
    assert checked.objection(resumed, NOW) is None
    assert checked.objection(resumed, NOW + timedelta(days=99)), "expired meanwhile"
    assert checked.objection(replace(resumed, certificates=server(SUB).certificates[:1]), NOW)


def test_the_memory_of_intermediates_is_bounded() -> None:
    checked = check(ROOT)
    for _ in range(40):
        assert objection(checked, server(SUB)) == ""
    assert len(checked._intermediates) <= 16
