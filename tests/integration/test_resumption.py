"""A resumed session is decided anew, and by the whole chain although the ticket holds the leaf only."""

import smtplib
import ssl

import pytest

from tests.kit.pki import Authority

IDENTITY = """
[[identity]]
name = "named"
names = ["dns:named.acme.example"]
senders = ["@acme.example"]
"""
HANDSHAKES = 24


@pytest.fixture
def partner(site, tmp_path):
    """A partner whose leaf stands under an intermediate of its own root, and that root."""
    root = Authority("Partner Root")
    issued = Authority("Partner Issuing", parent=root).issue(
        "named.acme.example", dns=("named.acme.example",)
    )
    (tmp_path / "partner-root.pem").write_bytes(root.pem)
    return site.files("named", issued), tmp_path / "partner-root.pem"


def test_a_chain_by_way_of_an_intermediate_resumes_in_every_worker(
    site, upstream, start_relay, partner
):
    files, root = partner
    relay = start_relay(
        upstream.port, allowlist=site.allowlist(IDENTITY), listener={"client_ca": [str(root)]}
    )
    context = site.context(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # smtplib lets us resume sessions of TLS 1.2
    session = None
    for _ in range(HANDSHAKES):
        with smtplib.SMTP("localhost", relay.port) as client:
            client.ehlo()
            client.docmd("STARTTLS")
            client.sock = context.wrap_socket(
                client.sock, server_hostname="localhost", session=session
            )
            client.file = None
            client.ehlo()
            assert client.mail("x@acme.example")[0] == 250
            session = client.sock.session
    records = relay.audit(kind="handshake")
    assert {record["status"] for record in records} == {"named"}
    assert sum(record["tls_resumed"] for record in records) == HANDSHAKES - 1
