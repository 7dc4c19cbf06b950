"""Exim (with GnuTLS) on either side of the relay."""

from tests.kit import clients
from tests.kit.clients import MESSAGE
from tests.kit.exim import Exim

CONTENT = MESSAGE + b".\r\n..two\r\n\xc3\xa4 8-bit\r\n\r\n.\r\n"


def test_exim_gets_the_message_whole(site, start_relay):
    with Exim.mx(*site.mx, "dest.example") as mx:
        behind = start_relay(mx.port)
        answer = clients.send(behind.port, site.context(site.pinned), CONTENT)
        assert answer.code == 250, answer
        assert "OK id=" in answer.text
        mail = mx.wait_for_mail()
    assert mail.endswith(CONTENT)
    assert b"esmtps" in mail


def test_a_pinned_exim_delivers(site, relay, upstream):
    with Exim.client(*site.pinned, site.ca, relay.port) as sender:
        sender.submit("billing@acme.example", "from-exim@dest.example", CONTENT)
        line = sender.wait_for_log("=> from-exim@dest.example")
    assert "CV=yes" in line
    (stored,) = upstream.received("from-exim@dest.example")
    assert stored.content.endswith(CONTENT.partition(b"\r\n\r\n")[2])


def test_an_unpinned_exim_logs_why(site, relay):
    with Exim.client(*site.unpinned, site.ca, relay.port) as sender:
        sender.submit("billing@acme.example", "why@dest.example", CONTENT)
        line = sender.wait_for_log("why@dest.example", "defer")
    assert "421 4.7.1" in line
    assert "(ref " in line


def test_an_unpinned_exim_keeps_its_mail(site, relay, upstream):
    with Exim.client(*site.unpinned, site.ca, relay.port) as sender:
        sender.submit("billing@acme.example", "kept-by-exim@dest.example", CONTENT)
        sender.wait_for_log("== kept-by-exim@dest.example", "defer")
    assert not upstream.received("kept-by-exim@dest.example")
