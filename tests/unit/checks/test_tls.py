"""What is said of the client's TLS."""

import pytest

from relay.checks import tls
from relay.model import Endpoint, TlsFacts
from relay.policy.case import Case
from relay.policy.facts import Stage
from relay.tls.clienthello import ClientHello
from tests.kit.checks import tools

SCSV = 0x5600


def report(facts):
    case = Case(Endpoint("192.0.2.1", 25), "x", tls=facts)
    return tls.build(tls.Settings(), tools()).report(case, Stage.HELLO, frozenset())


def made(version="TLSv1.3", group="x25519", hello=None, **values):
    return TlsFacts(version, "TLS_AES_128_GCM_SHA256", 128, group, False, hello=hello, **values)


def offer(*versions, ciphers=(0x1301,)):
    return ClientHello(versions, ciphers)


def test_without_tls_all_is_empty():
    told = report(None)
    assert set(told) == {fact.name for fact in tls.FACTS}
    assert not any(told.values())


def test_what_came_about():
    told = report(made(server_name="edge.example", hello=offer("TLSv1.3", "TLSv1.2")))
    assert told["tls.version"] == "TLSv1.3"
    assert told["tls.cipher"] == "TLS_AES_128_GCM_SHA256"
    assert told["tls.group"] == "x25519"
    assert told["tls.server_name"] == "edge.example"
    assert told["tls.offered"] == "TLSv1.3"
    assert told["tls.ja4"].startswith("t13")
    assert told["tls.resumed"] is False


@pytest.mark.parametrize(
    ("facts", "is_downgraded"),
    [
        (made(), False),
        (made("TLSv1.2"), False),
        (made("TLSv1.3", hello=offer("TLSv1.3", "TLSv1.2")), False),
        (made("TLSv1.2", hello=offer("TLSv1.2")), False),
        (made("TLSv1.2", hello=offer("TLSv1.3", "TLSv1.2")), True),
        (made("TLSv1.2", hello=offer("TLSv1.2", ciphers=(0xC02F, SCSV))), True),
        (made("TLSv1.3", hello=offer("TLSv1.3", ciphers=(0x1301, SCSV))), False),
        (made("TLSv1.2", hello=offer()), False),
    ],
)
def test_who_has_been_pushed_down(facts, is_downgraded):
    assert report(facts)["tls.downgraded"] is is_downgraded


@pytest.mark.parametrize(
    ("group", "is_safe"),
    [("X25519MLKEM768", True), ("SecP256r1MLKEM768", True), ("x25519", False), ("", False)],
)
def test_what_withstands_a_quantum_computer(group, is_safe):
    assert report(made(group=group))["tls.post_quantum"] is is_safe
