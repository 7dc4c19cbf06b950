"""`gatepost cert renew --daemon` at work: short lives, the hook, pins that come and go, mail that goes on."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from relay.allowlist_file import read_allowlist
from relay.ca_folder import CaFolder, encode_chain
from relay.key_files import encode_private_key
from relay.pki.issuing import Subject, Validity
from relay.renewal import read_leaf
from tests.kit.clients import send
from tests.kit.pki import make_key
from tests.kit.relay_process import COMMAND, REPOSITORY, wait_until
from tests.kit.site import Files

LIFE = timedelta(seconds=15)


@pytest.fixture
def relay(site, upstream, start_relay):
    return start_relay(upstream.port, listener={"policy": []})


@pytest.fixture
def client(relay, site):
    """A client of the relay's own CA, whose certificate is at three fifths of its 15 seconds."""
    done = relay.command("ca", "init")
    assert done.returncode == 0, done.stderr
    folder = relay.folder / "clients"
    folder.mkdir()
    ca, start = CaFolder(relay.folder / "ca"), datetime.now(UTC).replace(microsecond=0) - LIFE * 0.6
    key = make_key()
    subject = Subject("acme", ("dns:acme.example",), "client")
    short = ca.issue(subject, key.public_key(), Validity(start, start + LIFE))
    files = Files(folder / "acme.pem", folder / "acme.key", pin_of(short))
    files.chain.write_bytes(encode_chain(ca.chain(short)))
    files.key.write_bytes(encode_private_key(key))
    identity = f'[[identity]]\nname = "acme"\npins = ["{files.pin}"]\nsenders = ["@acme.example"]\n'
    relay.write_allowlist(site.allowlist(identity))
    return files


def pin_of(certificate):
    return f"spki:sha256:{certificate.spki_sha256}"


def test_a_certificate_of_seconds_is_renewed_again_and_again(relay, client, site):
    times = relay.folder / "hook"
    allowlist = relay.folder / "allowlist.toml"

    def pins():
        return read_allowlist(allowlist).find("acme").pins

    def renewals():
        return len(times.read_text().splitlines()) if times.exists() else 0

    first = read_leaf(client.chain)
    assert pins() == (client.pin,)
    command = [
        *COMMAND, "cert", "renew", "acme", "--daemon",
        "--exec", f"sh -c 'echo renewed >> {times}'", "--config", str(relay.config),
    ]  # fmt: skip
    with (relay.folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        wait_until("the first renewal", lambda: renewals() == 1)
        second = read_leaf(client.chain)
        assert second.spki_sha256 != first.spki_sha256
        assert pins() == (client.pin, pin_of(second))  # nothing is refused in between
        assert datetime.now(UTC) < first.not_after
        life = second.not_after - datetime.now(UTC)
        assert LIFE - timedelta(seconds=5) < life <= LIFE  # as long as the one before
        wait_until("its key counts", lambda: send(relay.port, site.context(client)).code == 250)
        wait_until("renewals go on", lambda: renewals() >= 3, 30)
    finally:
        daemon.terminate()
        daemon.wait(10)
    assert client.pin not in pins()  # its certificate has ended
    last = read_leaf(client.chain)
    assert pin_of(last) in pins()
    wait_until("the last key counts", lambda: send(relay.port, site.context(client)).code == 250)
    serials = [each["serial"] for each in relay.audit(action="cert.renew", target="acme")]
    assert len(serials) >= 3
    assert last.serial == serials[-1]
