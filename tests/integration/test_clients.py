"""Clients of other people's making get their mail through, and learn why they do not."""

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE

PROGRAMS = [clients.swaks, clients.curl, clients.msmtp]


@pytest.fixture
def message(tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return path


@pytest.fixture(autouse=True)
def _empty_upstream(upstream):
    upstream.messages.clear()


def body_of_the_only(upstream):
    (stored,) = upstream.messages
    return stored.body


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_pinned_program_delivers(program, site, relay, upstream, message):
    ended = program(site, relay.port, site.pinned, message)
    assert ended.code == 0, ended.output
    assert body_of_the_only(upstream).rstrip() == MESSAGE.partition(b"\r\n\r\n")[2].rstrip()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_an_unpinned_program_is_told_why(program, site, relay, upstream, message):
    ended = program(site, relay.port, site.unpinned, message)
    assert ended.code != 0
    assert "421" in ended.output
    assert "4.7.1" in ended.output
    assert "(ref " in ended.output
    assert not upstream.messages


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_program_without_certificate_is_told_why(program, site, relay, upstream, message):
    ended = program(site, relay.port, None, message)
    assert ended.code != 0
    assert "421" in ended.output
    assert "(ref " in ended.output
    assert not upstream.messages


def test_smtplib_delivers(site, relay, upstream):
    answer = clients.send(relay.port, site.context(site.pinned))
    assert answer.code == 250
    assert body_of_the_only(upstream) == MESSAGE.partition(b"\r\n\r\n")[2]


def test_openssl_by_hand_delivers(site, relay, upstream):
    lines = [
        b"EHLO by.hand.example\n",
        b"MAIL FROM:<billing@acme.example>\n",
        b"RCPT TO:<user@dest.example>\n",
        b"DATA\n",
        b"From: billing@acme.example\n\nBy hand.\n.\n",
        b"QUIT\n",
    ]
    replies = clients.s_client_dialogue(site, relay.port, site.pinned, lines)
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "354", "250", "221"]
    assert body_of_the_only(upstream) == b"By hand.\r\n"


def test_the_reply_to_the_message_is_the_next_hops_own(site, relay):
    answer = clients.send(relay.port, site.context(site.pinned))
    assert "taken as 4711" in answer.text


def test_many_messages_on_one_connection(site, relay, upstream):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        answers = [clients.transact(smtp).code for _ in range(20)]
        smtp.quit()
    assert answers == [250] * 20
    assert len(upstream.messages) == 20


def test_the_envelope_arrives_as_it_was_sent(site, relay, upstream):
    recipients = ["user@dest.example", '"odd name"@dest.example', "User+tag@Dest.example"]
    clients.send(relay.port, site.context(site.pinned), recipients=recipients)
    (stored,) = upstream.messages
    assert stored.sender == "billing@acme.example"
    assert stored.recipients == recipients


def test_the_null_sender_passes(site, relay, upstream):
    answer = clients.send(relay.port, site.context(site.pinned), sender="")
    assert answer.code == 250, answer
    assert upstream.messages[0].sender == ""


def test_the_next_hops_refusal_of_a_recipient_is_ours(site, relay, upstream):
    upstream.script.recipients["nobody@dest.example"] = "550 5.1.1 no such mailbox here"
    answer = clients.send(relay.port, site.context(site.pinned), recipients=["nobody@dest.example"])
    assert answer.code == 550
    assert answer.text.startswith("5.1.1 no such mailbox here")


def test_a_refused_recipient_does_not_hold_up_the_others(site, relay, upstream):
    upstream.script.recipients["gone@dest.example"] = "550 5.1.6 moved away"
    answer = clients.send(
        relay.port, site.context(site.pinned), recipients=["gone@dest.example", "user@dest.example"]
    )
    assert answer.code == 250
    assert upstream.messages[0].recipients == ["user@dest.example"]


def test_delivery_leaves_a_record(site, relay, upstream):
    content = MESSAGE.replace(b"<4711@acme.example>", b"<audited@acme.example>")
    clients.send(relay.port, site.context(site.pinned), content)
    found = [r for r in relay.audit(kind="transaction") if "audited@acme.example" in str(r)]
    assert len(found) == 1
    assert found[0]["identity"] == "acme-billing"
    assert found[0]["sender"] == "billing@acme.example"
