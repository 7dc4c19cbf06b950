"""Who is refused, with which reply, and what the audit trail knows of it."""

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE


@pytest.fixture(autouse=True)
def _nothing_arrives(upstream):
    upstream.messages.clear()
    yield
    assert not upstream.messages


def plain(relay):
    """A session that never asks for TLS."""
    return clients.session(relay.port, None)


@pytest.mark.parametrize(
    ("who", "status"),
    [("unpinned", "unpinned"), ("foreign", "unpinned"), (None, "absent")],
)
def test_a_stranger_is_refused_after_the_handshake(who, status, site, relay):
    certificate = getattr(site, who) if who else None
    answer = clients.send(relay.port, site.context(certificate))
    assert answer.code == 421
    assert answer.text.startswith("4.7.1 ")
    record = relay.wait_for_audit(kind="handshake", reference=answer.reference)
    assert record["status"] == status


def test_explain_knows_the_reference(site, relay):
    answer = clients.send(relay.port, site.context(site.unpinned))
    done = relay.command("explain", answer.reference)
    assert done.returncode == 0, done.stderr
    assert "gatepost pin add" in done.stdout
    assert site.unpinned.pin in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "MAIL FROM:<billing@acme.example>",
        "RCPT TO:<user@dest.example>",
        "DATA",
        "VRFY user",
        "BDAT 0 LAST",
    ],
)
def test_nothing_is_said_in_the_clear(command, relay):
    with plain(relay) as smtp:
        smtp.ehlo("client.example")
        code, text = smtp.docmd(command)
    assert code == 530
    assert text.startswith(b"5.7.0 Must issue a STARTTLS command first")


def test_plaintext_offers_only_starttls(relay):
    with plain(relay) as smtp:
        smtp.ehlo("client.example")
        assert smtp.has_extn("starttls")
        assert not smtp.has_extn("auth")


def test_starttls_is_not_offered_twice(site, relay):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 503


def test_commands_behind_starttls_in_the_clear_end_the_session(relay):
    with plain(relay) as smtp:
        smtp.ehlo("client.example")
        smtp.sock.sendall(b"STARTTLS\r\nMAIL FROM:<billing@acme.example>\r\n")
        code, text = smtp.getreply()
        assert code == 554
        assert text.startswith(b"5.5.0")
        assert smtp.sock.recv(100) == b""


@pytest.mark.parametrize("sender", ["ceo@elsewhere.example", "x@sub.acme.example"])
def test_a_sender_that_is_not_the_identitys_is_refused(sender, site, relay):
    answer = clients.send(relay.port, site.context(site.pinned), sender=sender)
    assert answer.code == 550
    assert answer.text.startswith("5.7.1 ")
    record = relay.wait_for_audit(kind="refusal", reference=answer.reference)
    assert record["identity"] == "acme-billing"


def test_an_author_that_is_not_the_identitys_is_refused(site, relay):
    content = MESSAGE.replace(b"<billing@acme.example>", b"<ceo@elsewhere.example>", 1)
    answer = clients.send(relay.port, site.context(site.pinned), content)
    assert answer.code == 550
    assert answer.text.startswith("5.7.1 ")


def test_a_message_over_the_limit_is_refused_by_its_declared_size(site, relay):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        code, text = smtp.docmd("MAIL FROM:<billing@acme.example> SIZE=999999999")
    assert code == 552
    assert text.startswith(b"5.3.4")


def test_a_bare_line_feed_is_refused(site, relay):
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        smtp.mail("billing@acme.example")
        smtp.rcpt("user@dest.example")
        assert smtp.docmd("DATA")[0] == 354
        smtp.sock.sendall(b"From: billing@acme.example\r\n\r\nx\n.\r\ny\r\n.\r\n")
        code, text = smtp.getreply()
    assert code == 554
    assert text.startswith(b"5.6.0")


def test_a_looping_message_is_refused(site, relay):
    content = b"Received: from a by b; Sat, 21 Nov 2026 12:00:00 +0000\r\n" * 51 + MESSAGE
    answer = clients.send(relay.port, site.context(site.pinned), content)
    assert answer.code == 554
    assert answer.text.startswith("5.4.6")


def test_a_web_browser_is_sent_away(relay):
    with plain(relay) as smtp:
        smtp.sock.sendall(b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n")
        assert smtp.getreply()[0] >= 500
        assert smtp.sock.recv(100) == b""
