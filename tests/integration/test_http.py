"""The HTTP side of the real relay: openssl and curl as clients, hostile ones, and mail that goes on meanwhile."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.model import Restriction, RestrictionKind
from relay.state.sqlite import SqliteStore
from tests.kit import clients
from tests.kit.apt import need
from tests.kit.http_client import ask, connect, read_reply
from tests.kit.postfix import Postfix
from tests.kit.relay_process import RelayProcess, accepts, free_port, holders, wait_until
from tests.kit.site import RECIPIENT, SENDER


class Served:
    """A relay with its CA, made by its own commands, that publishes, enrols and is probed."""

    def __init__(self, folder, settings, allowlist):
        self.folder = folder
        self.public, self.est, self.admin = free_port(), free_port(), free_port()
        self.relay = RelayProcess(folder, settings, allowlist)
        assert self.relay.command("ca", "init").returncode == 0
        made = self.relay.command("cert", "issue", "edge", "--server", "--dns", "localhost")
        assert made.returncode == 0, made.stderr
        self.ca = folder / "ca/root.pem"
        settings = {
            **settings,
            "ca": {
                "address": f"127.0.0.1:{self.public}",
                "url": f"http://127.0.0.1:{self.public}",
            },
            "est": {
                "address": f"127.0.0.1:{self.est}",
                "certificate": {"chain": "tls/edge.pem", "key": "tls/edge.key"},
            },
            "admin": {"address": f"127.0.0.1:{self.admin}"},
        }
        self.relay.write_settings(settings)

    def start(self):
        self.relay.start()
        wait_until("HTTP is served", lambda: all(map(accepts, (self.public, self.est, self.admin))))
        wait_until("a list is there", lambda: self.list().status == 200)

    def run(self, *words):
        done = self.relay.command(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def list(self, path="/crl.der"):
        return ask(self.public, "GET", path)

    def issue(self, name):
        self.run("cert", "issue", name)
        return self.folder / "clients" / f"{name}.pem"

    def invite(self, name, *options):
        return json.loads(self.run("cert", "invite", name, "--json", *options))

    @property
    def url(self):
        return f"https://localhost:{self.est}"


@pytest.fixture(scope="module")
def served(site, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    made = Served(folder, site.settings(upstream.port), site.allowlist())
    made.start()
    yield made
    made.relay.stop()


def openssl(*words):
    return subprocess.run(
        [need("openssl"), *map(str, words)], capture_output=True, text=True, timeout=30, check=False
    )


def ocsp(served, *words):
    ca = served.folder / "ca"
    done = openssl(
        "ocsp", "-issuer", ca / "issuing.pem", "-CAfile", ca / "root.pem",
        "-url", f"http://127.0.0.1:{served.public}/ocsp", *words,
    )  # fmt: skip
    return done.stdout + done.stderr


# --- openssl and curl as judges ------------------------------------------------------------------


def test_openssl_ocsp_hears_good_and_then_revoked_with_its_nonce(served):
    leaf = served.issue("judged")
    said = ocsp(served, "-cert", leaf)
    assert "Response verify OK" in said
    assert f"{leaf}: good" in said
    assert "WARNING: no nonce" not in said
    served.run("cert", "revoke", "judged", "--reason", "keyCompromise")
    said = ocsp(served, "-cert", leaf)
    assert f"{leaf}: revoked" in said
    assert "Reason: keyCompromise" in said


def test_openssl_ocsp_hears_unknown_of_what_was_never_issued(served):
    assert "0x1234: unknown" in ocsp(served, "-serial", "0x1234")


def test_openssl_verify_agrees_with_the_lists_that_are_published(served, tmp_path):
    leaf = served.issue("listed")
    for name in ("crl", "root-crl"):
        (tmp_path / f"{name}.der").write_bytes(served.list(f"/{name}.der").body)

    def verify():
        lists = [
            x509.load_der_x509_crl(served.list(f"/{name}.der").body) for name in ("crl", "root-crl")
        ]
        path = tmp_path / "lists.pem"
        path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in lists))
        done = openssl(
            "verify", "-crl_check_all", "-CAfile", served.ca, "-untrusted", leaf,
            "-CRLfile", path, leaf,
        )  # fmt: skip
        return done.stdout + done.stderr

    assert f"{leaf}: OK" in verify()
    served.run("cert", "revoke", "listed")
    assert "certificate revoked" in verify()


def test_a_certificate_says_where_to_ask_and_curl_finds_it_there(served, tmp_path):
    leaf = served.issue("pointing")
    said = openssl(
        "x509", "-in", leaf, "-noout", "-ext", "crlDistributionPoints,authorityInfoAccess"
    )
    url = re.search(r"URI:(http\S+crl\.der)", said.stdout)[1]
    assert f"OCSP - URI:http://127.0.0.1:{served.public}/ocsp" in said.stdout
    target = tmp_path / "fetched.der"
    curl = [need("curl"), "-sf", "--etag-save", tmp_path / "tag", "-o", target, url]
    subprocess.run(curl, check=True, timeout=30)
    issuer = x509.load_pem_x509_certificate((served.folder / "ca/issuing.pem").read_bytes())
    assert x509.load_der_x509_crl(target.read_bytes()).is_signature_valid(issuer.public_key())
    again = [need("curl"), "-s", "--etag-compare", tmp_path / "tag", "-o", os.devnull]
    done = subprocess.run(
        [*again, "-w", "%{http_code}", url], check=True, timeout=30, capture_output=True, text=True
    )
    assert done.stdout == "304"


# --- from `ca init` to mail, without openssl -----------------------------------------------------


def enrol(served, folder, *options, name="acme-edge"):
    told = served.invite(name, *options)
    return served.relay.gatepost(
        "cert", "enroll", name, "--url", served.url, "--token", told["token"],
        "--root-sha256", told["root_sha256"], "--out", folder,
    )  # fmt: skip


def test_a_postfix_sends_with_a_certificate_that_it_enrolled_and_renewed_by_itself(
    served, upstream, site, tmp_path
):
    done = enrol(served, tmp_path, "--senders", "@acme.example")
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "acme-edge.pem").read_bytes()
    done = served.relay.gatepost("cert", "renew", tmp_path / "acme-edge.pem", "--est", served.url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "acme-edge.pem").read_bytes() != first
    recipient = "est@dest.example"
    sender = Postfix.client(
        tmp_path / "acme-edge.pem", tmp_path / "acme-edge.key", site.ca, served.relay.port
    )
    with sender:
        sender.submit("billing@acme.example", recipient, clients.MESSAGE)
        sender.wait_for_status(recipient, "sent")
    assert len(upstream.received(recipient)) == 1
    (record,) = served.relay.audit(kind="transaction", identity="acme-edge")
    assert record["outcome"] == "delivered"
    acts = [each["action"] for each in served.relay.audit(kind="admin", target="acme-edge")]
    assert acts == ["cert.invite", "cert.enroll", "cert.reenroll"]


# --- hostile clients -----------------------------------------------------------------------------


def test_a_token_is_good_once_over_the_wire(served, tmp_path):
    told = served.invite("once")
    words = [
        "cert",
        "enroll",
        "once",
        "--url",
        served.url,
        "--token",
        told["token"],
        "--ca",
        served.ca,
    ]
    assert served.relay.gatepost(*words, "--out", tmp_path / "a").returncode == 0
    again = served.relay.gatepost(*words, "--out", tmp_path / "b")
    assert again.returncode == 1
    assert "401" in again.stderr


def test_a_revoked_certificate_brings_no_next_one(served, tmp_path):
    assert enrol(served, tmp_path, name="leaver").returncode == 0
    served.run("cert", "revoke", "leaver")
    done = served.relay.gatepost("cert", "renew", tmp_path / "leaver.pem", "--est", served.url)
    assert done.returncode == 1
    assert "403: the certificate is revoked" in done.stderr
    refused = served.relay.wait_for_audit(kind="refusal", target="leaver")
    assert refused["reason"] == "the certificate is revoked"


def suspend(folder, name):
    """As a rule does: in the state, not on the allowlist."""
    since = time.time()
    restriction = Restriction(RestrictionKind.SUSPENSION, name, "spam", "rule", since, since + 600)

    async def act():
        store = SqliteStore.open(folder, timedelta(seconds=5))
        await store.restrict(restriction)
        await store.close()

    asyncio.run(act())


def test_whom_a_rule_has_suspended_gets_no_next_one(served, tmp_path):
    assert enrol(served, tmp_path, name="offender").returncode == 0
    suspend(served.relay.state, "offender")
    known = served.relay.command("ban", "list", "--json").stdout
    assert "offender" in known

    def refused():
        path = tmp_path / "offender.pem"
        done = served.relay.gatepost("cert", "renew", path, "--est", served.url)
        return "403: the identity is suspended" in done.stderr

    wait_until("it is refused", refused)


def test_floods_and_garbage_disturb_neither_the_others_nor_the_mail(served, site, upstream):
    hostile = ("127.0.0.2", 0)
    idle = [
        socket.create_connection(("127.0.0.1", served.public), 30, source_address=hostile)
        for _ in range(600)
    ]
    for number, each in enumerate(idle):
        each.sendall(b"POST /ocsp HTTP/1.1\r\nContent-Le" if number % 2 else b"\x16\x03\x01")
    huge = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    with connect(served.public) as connection:
        connection.sendall(huge + b"x" * 100_000)
        assert read_reply(connection).status == 413
    started = time.monotonic()
    assert served.list().status == 200
    assert ask(served.admin, "GET", "/readyz").status == 200
    assert time.monotonic() - started < 5
    with clients.session(served.relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert clients.transact(smtp).code == 250
    for each in idle:
        each.close()


# --- probes, and the life of the process ---------------------------------------------------------


def test_probes_and_figures(served, site):
    with clients.session(served.relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert clients.transact(smtp).code == 250
    assert ask(served.admin, "GET", "/healthz").body == b"alive\n"
    assert ask(served.admin, "GET", "/readyz").body == b"ready\n"
    page = ask(served.admin, "GET", "/metrics").body.decode()
    assert int(float(re.search(r"^gatepost_delivered_total (\S+)$", page, re.MULTILINE)[1])) >= 1
    assert "\ngatepost_up 1.0\n" in page


def http_process(served):
    """The child that holds the socket of the probes."""
    return holders(served.admin) - {served.relay.pid}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_it_is_replaced_when_it_dies_and_nobody_else_holds_its_sockets(served):
    (pid,) = http_process(served)
    os.kill(pid, signal.SIGKILL)
    wait_until("another serves", lambda: http_process(served) not in ({pid}, set()))
    wait_until("it answers", lambda: ask(served.admin, "GET", "/readyz").status == 200)
    workers = set(served.relay.workers())
    assert len(holders(served.relay.port) & workers) == 2
    for port in (served.public, served.est, served.admin):
        assert not holders(port) & workers


def test_a_reload_moves_it_and_lets_go_of_the_old_address(site, upstream, tmp_path):
    settings = site.settings(upstream.port)
    first, second = free_port(), free_port()
    relay = RelayProcess(
        tmp_path, {**settings, "admin": {"address": f"127.0.0.1:{first}"}}, site.allowlist()
    )
    with relay:
        wait_until("it is ready", lambda: ask(first, "GET", "/readyz").status == 200)
        relay.write_settings({**settings, "admin": {"address": f"127.0.0.1:{second}"}})
        relay.reload()
        wait_until("the new one answers", lambda: ask(second, "GET", "/readyz").status == 200)
        wait_until("the old address is free", lambda: not accepts(first))
        relay.write_settings(settings)
        relay.reload()
        wait_until("nobody is asked any more", lambda: not accepts(second))


def test_a_rotated_audit_trail_goes_on_in_the_new_file(served):
    def refuse(name):
        request = {"Authorization": f"Basic {b64encode(f'{name}:x'.encode()).decode()}"}
        path = "/.well-known/est/simpleenroll"
        ask(served.est, "POST", path, b"x", ssl._create_unverified_context(), **request)

    refuse("before")  # whoever has not written anything yet would open the new file by itself
    served.relay.wait_for_audit(kind="refusal", target="before")
    trail = served.relay.state / "audit.jsonl"
    trail.rename(trail.with_suffix(".1"))
    served.relay.signal(signal.SIGUSR1)
    wait_until("a new file is there", trail.exists)
    refuse("after")
    served.relay.wait_for_audit(kind="refusal", target="after")
    served.relay.reload()
    served.relay.wait_for_audit(kind="admin", action="reload")


def test_a_relay_that_drains_is_not_ready(site, upstream, start_relay):
    port = free_port()
    relay = start_relay(upstream.port, admin={"address": f"127.0.0.1:{port}"})
    wait_until("it is ready", lambda: ask(port, "GET", "/readyz").status == 200)
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        smtp.mail(SENDER)
        smtp.rcpt(RECIPIENT)
        smtp.docmd("DATA")
        relay.signal(signal.SIGTERM)
        wait_until("it says so", lambda: ask(port, "GET", "/readyz").body == b"stopping\n")
        assert ask(port, "GET", "/healthz").status == 200
        smtp.send(clients.MESSAGE + b".\r\n")
        assert smtp.getreply()[0] == 250


def test_an_address_that_is_taken_is_one_line_at_its_key(site, upstream, tmp_path):
    settings = site.settings(upstream.port)
    settings["admin"] = {"address": settings["listener"][0]["address"]}
    relay = RelayProcess(tmp_path, settings, site.allowlist())
    done = relay.command("run")
    assert done.returncode == 2
    assert re.search(r"gatepost\.toml:\d+: .* both listen on .*; give each", done.stderr)
    shutil.rmtree(tmp_path)
