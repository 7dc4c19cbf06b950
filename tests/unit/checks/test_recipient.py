"""What is said of RCPT TO."""

from relay.checks import recipient
from relay.model import Address, Endpoint, Recipient
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import tools


def report(stage, *accepted, asked=None):
    case = Case(Endpoint("192.0.2.1", 25), "x", recipient=asked, recipients=accepted)
    return recipient.build(recipient.Settings(), tools()).report(case, stage, frozenset())


ONE, TWO = Recipient(Address("One", "Example.org")), Recipient(Address("two", "example.org"))


def test_a_recipient():
    assert report(Stage.RECIPIENT, asked=ONE) == {
        "recipient.address": "One@Example.org",
        "recipient.local": "One",
        "recipient.domain": "example.org",
        "recipient.earlier": 0,
    }


def test_how_many_came_before():
    assert report(Stage.RECIPIENT, ONE, asked=TWO)["recipient.earlier"] == 1


def test_the_bare_postmaster():
    told = report(Stage.RECIPIENT, asked=Recipient(Address("postmaster", "")))
    assert (told["recipient.local"], told["recipient.domain"]) == ("postmaster", "")


def test_how_many_a_message_has():
    assert report(Stage.MESSAGE, ONE, TWO) == {"recipient.count": 2}
