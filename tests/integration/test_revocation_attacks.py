"""Servers of CAs that attack all at once: each ends in its outcome, in bounded memory, and others' mail goes on."""

import smtplib
import threading
import time
from pathlib import Path

import pytest

from tests.kit.clients import session, transact
from tests.kit.crl_server import CrlServer
from tests.kit.ocsp_server import OcspServer
from tests.kit.pki import Authority
from tests.kit.relay_process import children, wait_until
from tests.kit.revocation import make_crl

MAX_BYTES = 16 * 2**20
OUTCOMES = {
    # who attacks: what is on record of its client, what it is told, what the log says
    "pouring": ("unreachable", 451, f"larger than {MAX_BYTES} bytes"),
    "silent": ("unreachable", 451, "no whole answer within 2 s"),
    "forging": ("unreachable", 451, "its signature is wrong"),
    "rolling-back": ("revoked", 554, "the newer list 7 is in use"),
    "silent-responder": ("unreachable", 451, "no whole answer within 1 s"),
}


class Attack:
    """A CA with a server of the worst kind, and a client of it."""

    def __init__(self, name, site, folder):
        self.name = name
        self.root = Authority(f"Root of {name}")
        self.server = OcspServer() if name == "silent-responder" else CrlServer()
        dns = f"{name}.example"
        self.issued = self.root.issue(dns, dns=(dns,), extensions=[self.server.extension])
        self.files = site.files(name, self.issued)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self.root.pem)
        self.identity = f'[[identity]]\nname = "{name}"\nnames = ["dns:{dns}"]\n'

    def begin(self):
        match self.name:
            case "pouring":
                self.server.pours = True
            case "silent" | "silent-responder":
                self.server.hangs = True
            case "forging":
                self.server.body = make_crl(self.root, key=Authority("Forger").key)
            case "rolling-back":
                self.server.body = make_crl(self.root, [self.issued], number=7)


class Bystander(threading.Thread):
    """Sends message after message, and notes the longest time one took."""

    def __init__(self, port, context):
        super().__init__()
        self._port, self._context = port, context
        self.is_over = False
        self.codes = set()
        self.sent = 0
        self.longest = 0.0

    def run(self):
        with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
            client.starttls(context=self._context)
            client.ehlo("client.example")
            while not self.is_over:
                began = time.monotonic()
                self.codes.add(transact(client).code)
                self.longest = max(self.longest, time.monotonic() - began)
                self.sent += 1


def memory_mib(pids):
    """What processes have in memory, pages that they share counted once (PSS)."""
    lines = (
        line
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
    return sum(int(line.split()[1]) for line in lines) / 1024


@pytest.fixture
def attacks(site, tmp_path):
    made = {name: Attack(name, site, tmp_path) for name in OUTCOMES}
    for each in made.values():
        each.server.__enter__()
        each.begin()
    yield made
    for each in made.values():
        each.server.stop()


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
)
def test_five_attacks_at_once(attacks, site, upstream, start_relay):
    relay = start_relay(
        upstream.port,
        allowlist=site.allowlist("".join(each.identity for each in attacks.values())),
        listener={"client_ca": [str(each.ca) for each in attacks.values()], "revocation": "hard"},
        revocation={
            "allow_private_addresses": True,
            "max_crl_bytes": MAX_BYTES,
            "timeout": "2s",
            "ocsp_timeout": "1s",
            "retry": "100ms",
            "refresh": "500ms",
        },
    )
    processes = children(relay.pid)
    before = memory_mib(processes)
    most = before

    def answer_to(name):
        with session(relay.port, site.context(attacks[name].files)) as client:
            client.ehlo("client.example")
            return transact(client).code

    def record_of(name):
        return relay.audit(kind="handshake", identity=name)[-1]

    bystander = Bystander(relay.port, site.context(site.pinned))
    bystander.start()
    try:
        wait_until("the list is there", lambda: answer_to("rolling-back") == 554)
        attacks["rolling-back"].server.body = make_crl(attacks["rolling-back"].root, number=6)
        for name, (outcome, code, words) in OUTCOMES.items():
            began = time.monotonic()
            assert answer_to(name) == code, name
            assert time.monotonic() - began < 10
            assert record_of(name)["revocation"] == outcome, name
            wait_until(
                lambda words=words: f"{words}: {relay.log()}",
                lambda words=words: words in relay.log(),
            )
        pouring = attacks["pouring"].server
        poured = pouring.poured_bytes

        def has_poured_more():
            nonlocal most
            most = max(most, memory_mib(processes))
            return pouring.poured_bytes > poured + 5 * MAX_BYTES

        wait_until("it has come again and again", has_poured_more)
        assert answer_to("rolling-back") == 554
    finally:
        bystander.is_over = True
        bystander.join(60)
    assert bystander.codes == {250}
    assert bystander.sent > 50
    assert bystander.longest < 2  # the machine does other things, too
    assert most - before < 4 * MAX_BYTES / 2**20
    assert children(relay.pid) == processes  # nobody has died of it
