"""Postfix on either side: as the MTA behind the relay, and as the partner in front of it."""

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE
from tests.kit.postfix import Postfix

CONTENT = MESSAGE + b".\r\n..two\r\n\xc3\xa4 8-bit\r\n\r\n.\r\n"


@pytest.fixture(scope="module")
def mx(site):
    with Postfix.mx(*site.mx, "dest.example", ("user", "big")) as running:
        yield running


@pytest.fixture
def behind(mx, start_relay):
    """A relay in front of Postfix."""
    return start_relay(mx.port)


def send_to(relay, site, mailbox, content):
    recipient = f"{mailbox}@dest.example"
    return clients.send(relay.port, site.context(site.pinned), content, recipients=[recipient])


def test_postfix_gets_the_message_whole(site, mx, behind):
    answer = send_to(behind, site, "user", CONTENT)
    assert answer.code == 250, answer
    assert "queued as" in answer.text
    (mail,) = mx.wait_for_mail("user")
    assert mail.endswith(CONTENT)


def test_postfix_gets_50_megabytes_whole(site, mx, behind):
    content = MESSAGE + (b"z" * 76 + b"\r\n") * (50_000_000 // 78)
    answer = send_to(behind, site, "big", content)
    assert answer.code == 250, answer
    assert mx.wait_for_mail("big")[0].endswith(content)


def test_postfixs_refusal_is_passed_on(site, behind):
    answer = send_to(behind, site, "nobody", CONTENT)
    assert answer.code == 550
    assert answer.text.startswith("5.1.1 ")
    assert "nobody@dest.example" in answer.text


def test_the_leg_to_postfix_is_encrypted(site, mx, behind):
    send_to(behind, site, "user", CONTENT)
    assert b"ESMTPS" in mx.wait_for_mail("user")[-1]


def test_a_pinned_postfix_delivers(site, relay, upstream):
    with Postfix.client(*site.pinned, site.ca, relay.port) as sender:
        sender.submit("billing@acme.example", "from-postfix@dest.example", CONTENT)
        line = sender.wait_for_status("from-postfix@dest.example", "sent")
    assert "250 2.0.0 taken as 4711" in line
    (stored,) = upstream.received("from-postfix@dest.example")
    assert stored.content.endswith(CONTENT.partition(b"\r\n\r\n")[2])


def test_an_unpinned_postfix_keeps_its_mail_and_logs_why(site, relay, upstream):
    with Postfix.client(*site.unpinned, site.ca, relay.port) as sender:
        sender.submit("billing@acme.example", "kept@dest.example", CONTENT)
        line = sender.wait_for_status("kept@dest.example", "deferred")
    assert "421 4.7.1" in line
    assert "(ref " in line
    assert not upstream.received("kept@dest.example")


def test_a_postfix_with_a_foreign_sender_bounces_at_home(site, relay, upstream):
    with Postfix.client(*site.pinned, site.ca, relay.port) as sender:
        sender.submit("someone@elsewhere.example", "bounced@dest.example", CONTENT)
        line = sender.wait_for_status("bounced@dest.example", "bounced")
    assert "550 5.7.1" in line
    assert not upstream.received("bounced@dest.example")
