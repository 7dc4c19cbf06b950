"""TLS as foreign implementations see it: what is offered, refused, resumed and put on record."""

import json
import ssl
import subprocess

import pytest

from tests.kit import clients
from tests.kit.apt import need
from tests.kit.relay_process import wait_until

WEAK = ("-cipher", "DEFAULT@SECLEVEL=0")  # else OpenSSL itself would not offer so old a version


def test_sslyze_has_nothing_to_object_to(site, relay, tmp_path):
    report = tmp_path / "sslyze.json"
    command = [
        need("sslyze"), "--starttls=smtp", "--mozilla_config=intermediate",
        f"--certinfo_ca_file={site.ca}", f"--json_out={report}", f"127.0.0.1:{relay.port}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert "VULNERABLE" not in done.stdout.replace("Not vulnerable", ""), done.stdout
    (scanned,) = json.loads(report.read_text())["server_scan_results"]
    assert scanned["connectivity_status"] == "COMPLETED"
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_intermediate_profile_takes_both_versions(version, site, relay):
    option = "-" + version.lower().replace("v", "").replace(".", "_")
    ended = clients.s_client(site, relay.port, site.pinned, option)
    assert f"New, {version}" in ended.output, ended.output


def test_an_old_version_is_refused_and_on_record(site, relay):
    ended = clients.s_client(site, relay.port, site.pinned, "-tls1_1", *WEAK)
    assert ended.code != 0
    assert "protocol version" in ended.output
    record = relay.wait_for_audit(kind="handshake", tls_offered="TLSv1.1")
    assert record["peer_address"] == "127.0.0.1"


def test_the_modern_profile_refuses_tls_1_2(site, own_upstream, start_relay):
    modern = start_relay(own_upstream.port, listener={"profile": "modern"})
    assert clients.s_client(site, modern.port, site.pinned, "-tls1_2").code != 0
    assert "New, TLSv1.3" in clients.s_client(site, modern.port, site.pinned).output


def test_weak_ciphers_are_refused(site, relay):
    options = ("-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    assert clients.s_client(site, relay.port, site.pinned, *options).code != 0


def test_implicit_tls_delivers(site, own_upstream, start_relay):
    implicit = start_relay(own_upstream.port, listener={"tls": "implicit"})
    answer = clients.send(implicit.port, site.context(site.pinned), implicit=True)
    assert answer.code == 250
    assert len(own_upstream.messages) == 1


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_resumes_in_every_worker(version, site, relay, tmp_path):
    ticket = tmp_path / "ticket"
    first = clients.s_client(site, relay.port, site.pinned, version, "-sess_out", str(ticket))
    assert "New, TLS" in first.output
    outputs = [
        clients.s_client(site, relay.port, site.pinned, version, "-sess_in", str(ticket)).output
        for _ in range(8)
    ]
    assert all("Reused, TLS" in output for output in outputs)


def test_a_resumed_session_is_decided_again(site, relay, tmp_path):
    ticket = tmp_path / "ticket"
    clients.s_client(site, relay.port, site.unpinned, "-sess_out", str(ticket))
    lines = [b"EHLO again.example\n", b"MAIL FROM:<billing@acme.example>\n"]
    replies = clients.s_client_dialogue(
        site, relay.port, site.unpinned, lines, "-sess_in", str(ticket)
    )
    reference = replies[-1].rpartition("(ref ")[2].rstrip(")")
    record = relay.wait_for_audit(kind="handshake", reference=reference)
    assert replies[-1].startswith("421 4.7.1")
    assert record["tls_resumed"]
    assert record["status"] == "unpinned"


def test_a_client_that_does_not_trust_us_is_on_record(site, relay):
    distrusting = ssl.create_default_context()
    before = len(relay.audit(kind="handshake"))
    with pytest.raises(ssl.SSLError):
        clients.send(relay.port, distrusting)
    wait_until("it is on record", lambda: len(relay.audit(kind="handshake")) == before + 1)
    assert "tls_failure" in relay.audit(kind="handshake")[-1]


def test_server_name_chooses_the_certificate(site, own_upstream, start_relay):
    other = site.files(
        "other", site.authority.issue("b.example", dns=("b.example",), usages=("server",))
    )
    both = [{"chain": str(f.chain), "key": str(f.key)} for f in (site.edge, other)]
    relay = start_relay(own_upstream.port, listener={"certificate": both})
    by_name = clients.s_client(site, relay.port, site.pinned, "-servername", "b.example").output
    assert "subject=CN = b.example" in by_name
    without = clients.s_client(site, relay.port, site.pinned, "-noservername").output
    assert "subject=CN = edge.example" in without
