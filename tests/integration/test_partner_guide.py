"""What `gatepost cert issue` tells a partner to configure, put into a real Postfix and a real Exim."""

import shutil

import pytest

from relay.cli.partner_guide import Edge, exim_lines, postfix_lines
from tests.kit.clients import MESSAGE
from tests.kit.exim import Exim
from tests.kit.postfix import Postfix


@pytest.fixture(params=["starttls", "implicit"])
def edge(request, relay, start_relay, upstream):
    """A relay as the guide describes it."""
    if request.param == "starttls":
        return Edge("localhost", relay.port)
    behind = start_relay(upstream.port, listener={"tls": "implicit"})
    return Edge("localhost", behind.port, is_implicit=True)


def test_postfix_delivers_with_the_lines_of_the_guide(site, edge, upstream):
    partner = Postfix(*site.pinned)
    shutil.copy(site.ca, partner.folder / "gatepost-root.pem")
    lines = postfix_lines(edge, "tls").replace("/etc/postfix", str(partner.folder))
    partner._configure(lines.replace("{", "{{").replace("}", "}}") + "\nsmtp_tls_loglevel = 1\n")
    recipient = f"guide-postfix-{edge.port}@dest.example"
    with partner:
        partner.submit("billing@acme.example", recipient, MESSAGE)
        partner.wait_for_status(recipient, "sent")
        assert "Verified TLS connection established to localhost" in partner.log()
    assert len(upstream.received(recipient)) == 1


def test_exim_delivers_with_the_lines_of_the_guide(site, edge, upstream):
    partner = Exim(*site.pinned)
    shutil.copy(site.ca, partner.folder / "gatepost-root.pem")
    lines = exim_lines(edge, "tls").replace("/etc/exim4", str(partner.folder))
    routers, transports = (
        part.split(":\n", 1)[1] for part in lines.split("# routers", 1)[1].split("# transports\n")
    )
    parts = {
        "main": "domainlist local_domains = nowhere.example\ntls_advertise_hosts =",
        "acl": "accept",
        "router": f"{routers}\n  self = send".replace(
            "gatepost_smtp", "only"
        ),  # it is on this host
        "transport": transports,
    }
    partner._configure(parts)
    recipient = f"guide-exim-{edge.port}@dest.example"
    with partner:
        partner.submit("billing@acme.example", recipient, MESSAGE)
        line = partner.wait_for_log(f"=> {recipient}")
    assert "CV=yes" in line
    assert len(upstream.received(recipient)) == 1
