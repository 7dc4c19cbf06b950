"""What is said of MAIL FROM."""

import pytest

from relay.checks import sender
from relay.model import Address, Endpoint, Sender
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import tools


def report(found):
    case = Case(Endpoint("192.0.2.1", 25), "x", sender=found)
    return sender.build(sender.Settings(), tools()).report(case, Stage.SENDER, frozenset())


def test_a_sender():
    assert report(Sender(Address("Jane.Doe", "Example.ORG"), 1234, smtputf8=True)) == {
        "sender.address": "Jane.Doe@Example.ORG",
        "sender.local": "Jane.Doe",
        "sender.domain": "example.org",
        "sender.is_null": False,
        "sender.size_bytes": 1234,
        "sender.smtputf8": True,
    }


def test_the_null_sender():
    assert report(Sender(None)) == {
        "sender.address": "",
        "sender.local": "",
        "sender.domain": "",
        "sender.is_null": True,
        "sender.size_bytes": 0,
        "sender.smtputf8": False,
    }


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("xn--bcher-kva.example", "bücher.example"),
        ("BÜCHER.example.", "bücher.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("", ""),
    ],
)
def test_a_domain_is_spelled_in_one_way(written, domain):
    assert report(Sender(Address("a", written)))["sender.domain"] == domain
