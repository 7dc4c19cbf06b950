"""Our own OCSP answer beside our certificate: openssl s_client -status sees it while it counts, never after."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from tests.kit.clients import s_client, send
from tests.kit.ocsp_server import OcspServer, OpensslResponder
from tests.kit.relay_process import COMMAND, REPOSITORY, wait_until
from tests.kit.revocation import make_answer

MUST_STAPLE = (x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
QUICK = {
    "retry": "100ms",
    "refresh": "200ms",
    "ocsp_timeout": "10s",
    "allow_private_addresses": True,
}


@pytest.fixture
def responder(site, tmp_path):
    with OpensslResponder(tmp_path, site.authority) as running:
        yield running


@pytest.fixture
def server():
    with OcspServer() as running:
        yield running


def issue(site, *extensions):
    local = {"dns": ("localhost",), "ip": ("127.0.0.1",), "usages": ("server",)}
    return site.authority.issue("edge.example", days=90, extensions=extensions, **local)


@pytest.fixture
def relay_with(site, upstream, tmp_path, start_relay):
    """Start a relay with a server certificate; its CA is named, as it is not in the chain."""

    def start(issued, *, profile="intermediate", must_staple="warn", **revocation):
        files = site.files("stapled", issued)
        table = {**QUICK, **revocation, "authority": [{"certificate": str(site.ca), "mode": "off"}]}
        return start_relay(
            upstream.port,
            listener={
                "certificate": [{"chain": str(files.chain), "key": str(files.key)}],
                "profile": profile,
                "must_staple": must_staple,
            },
            revocation=table,
        )

    return start


def status(site, relay, version="-tls1_3"):
    """What a client that asks for an answer sees."""
    shown = s_client(site, relay.port, site.pinned, "-status", version)
    assert "Verify return code: 0 (ok)" in shown.output
    if "OCSP response: no response sent" in shown.output:
        return "none"
    assert "OCSP Response Status: successful" in shown.output, shown.output
    return shown.output.partition("Cert Status: ")[2].split()[0]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_clients_that_ask_see_a_valid_answer(site, relay_with, responder, version):
    issued = issue(site, responder.extension)
    responder.know(issued)
    relay = relay_with(issued)
    wait_until("an answer is stapled", lambda: status(site, relay, version) == "good")
    assert send(relay.port, site.context(site.pinned)).code == 250


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_after_its_end_an_answer_is_not_shown_any_more(site, relay_with, server, version):
    issued = issue(site, server.extension)
    seconds = 3

    def answer(_):
        now = datetime.now(UTC).replace(microsecond=0)
        return make_answer(issued, site.authority, at=now, until=now + timedelta(seconds=seconds))

    server.answer = answer
    relay = relay_with(issued)
    wait_until("an answer is stapled", lambda: status(site, relay, version) == "good")
    server.answer = lambda _: b"out of order"
    last = time.monotonic()
    wait_until("it has ended", lambda: status(site, relay, version) == "none")
    assert time.monotonic() - last < seconds + 2
    server.answer = answer
    wait_until("it is back", lambda: status(site, relay, version) == "good")


def test_an_answer_is_refreshed_before_it_ends(site, relay_with, server):
    issued = issue(site, server.extension)

    def answer(_):
        now = datetime.now(UTC).replace(microsecond=0)
        return make_answer(issued, site.authority, at=now, until=now + timedelta(seconds=4))

    server.answer = answer
    relay = relay_with(issued)
    wait_until("an answer is stapled", lambda: status(site, relay) == "good")
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert status(site, relay) == "good"


def test_an_answer_that_is_not_good_is_not_shown(site, relay_with, responder):
    issued = issue(site, responder.extension)
    responder.know(issued, revoked=True)
    relay = relay_with(issued)
    wait_until(relay.log, lambda: "our own certificate" in relay.log())
    assert status(site, relay) == "none"


def test_an_answer_of_somebody_else_is_not_shown(site, relay_with, server):
    issued = issue(site, server.extension)
    impostor = issue(site)
    server.answer = lambda _: make_answer(issued, site.authority, signer=impostor)
    relay = relay_with(issued)
    wait_until(relay.log, lambda: "OCSP responder fails" in relay.log())
    assert status(site, relay) == "none"


def test_a_restart_shows_the_answer_that_was_kept(site, relay_with, responder):
    issued = issue(site, responder.extension)
    responder.know(issued)
    relay = relay_with(issued)
    wait_until("an answer is stapled", lambda: status(site, relay) == "good")
    relay.stop()
    responder.stop()
    relay.start()
    assert status(site, relay) == "good"


# --- certificates that demand it ------------------------------------------------------------------


@pytest.mark.parametrize("must_staple", ["warn", "refuse"])
def test_one_that_demands_an_answer_has_it_from_the_first_connection_on(
    site, relay_with, responder, must_staple
):
    issued = issue(site, responder.extension, MUST_STAPLE)
    responder.know(issued)
    relay = relay_with(issued, must_staple=must_staple)
    assert status(site, relay) == "good"


def test_without_an_answer_it_is_said(site, relay_with, server):
    server.stop()
    relay = relay_with(issue(site, server.extension, MUST_STAPLE))
    assert "certificate without a staple" in relay.log()
    assert status(site, relay) == "none"


@pytest.mark.parametrize(
    ("names_responder", "why"), [(True, "none has come"), (False, "it names no OCSP responder")]
)
def test_without_an_answer_a_start_can_be_refused(site, tmp_path, server, names_responder, why):
    import subprocess

    import tomlkit

    server.stop()
    issued = issue(site, *([server.extension] if names_responder else []), MUST_STAPLE)
    files = site.files("stapled", issued)
    (tmp_path / "allowlist.toml").write_text(site.allowlist())
    config = tmp_path / "gatepost.toml"
    settings = site.settings(
        25,
        listener={
            "certificate": [{"chain": str(files.chain), "key": str(files.key)}],
            "must_staple": "refuse",
        },
        revocation={**QUICK, "authority": [{"certificate": str(site.ca), "mode": "off"}]},
    )
    config.write_text(tomlkit.dumps(settings))
    done = subprocess.run(
        [*COMMAND, "run", "--config", str(config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [each for each in done.stderr.splitlines() if "gatepost.toml:" in each]
    assert f"it demands a stapled OCSP answer, and {why}; " in line
    assert 'or set `must_staple = "warn"`' in line
    assert "Traceback" not in done.stderr


def test_without_an_answer_a_reload_is_refused_and_the_old_one_goes_on(
    site, relay_with, responder, server
):
    issued = issue(site, responder.extension, MUST_STAPLE)
    responder.know(issued)
    relay = relay_with(issued, must_staple="refuse")
    server.stop()
    successor = issue(site, server.extension, MUST_STAPLE)
    files = site.files("successor", successor)
    text = relay.config.read_text()
    before = site.folder / "stapled"
    relay.config.write_text(
        text.replace(f"{before}.pem", str(files.chain)).replace(f"{before}.key", str(files.key))
    )
    wait_until(relay.log, lambda: "reload failed, the old workers go on" in relay.log())
    assert status(site, relay) == "good"
    assert send(relay.port, site.context(site.pinned)).code == 250
