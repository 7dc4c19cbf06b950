"""A list of a million entries in the real relay: how long until it counts, and what it costs the workers."""

import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest

from tests.kit.clients import session, transact
from tests.kit.crl_server import CrlServer
from tests.kit.pki import Authority
from tests.kit.relay_process import wait_until
from tests.kit.revocation import pretend_crl, to_der

WORKERS = 4
ENTRIES = 1_000_000


def million(authority, revoked):
    """A list of a million entries in DER, and one more."""
    stamp = to_der(0x17, b"260304050607Z")
    numbers = [b"\x02\x10\x01" + (each * 7919).to_bytes(15, "big") for each in range(ENTRIES)]
    serial = revoked.to_bytes(21, "big").lstrip(b"\0")
    numbers.append(to_der(2, (b"\0" if serial[0] & 0x80 else b"") + serial))
    return pretend_crl(authority, [b"".join(to_der(0x30, each, stamp) for each in numbers)])


def memory_kib(pids):
    """What processes have in memory, pages that they share counted once (PSS)."""
    lines = (
        line
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
    return sum(int(line.split()[1]) for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
)
def test_a_million_entries_hold_up_nobody(site, upstream, start_relay, tmp_path, capsys):
    """Figures and machine: docs/revocation.md."""
    root = Authority("Partner Root")
    ca = tmp_path / "root.pem"
    ca.write_bytes(root.pem)
    with CrlServer() as server:
        issued = root.issue("named", dns=("named.acme.example",), extensions=[server.extension])
        server.body = million(root, issued.cert.serial_number)
        identity = '[[identity]]\nname = "named"\nnames = ["dns:named.acme.example"]\n'
        relay = start_relay(
            upstream.port,
            allowlist=site.allowlist(identity),
            workers=WORKERS,
            listener={"client_ca": [str(ca)], "revocation": "hard"},
            revocation={"allow_private_addresses": True},
        )
        context = site.context(site.files("named", issued))
        workers = relay.workers()
        before = memory_kib(workers)
        longest = 0.0

        def ask():
            with session(relay.port, context) as client:
                client.ehlo("client.example")
                return transact(client).code

        with ExitStack() as stack:
            bystanders = [
                stack.enter_context(session(relay.port, site.context(site.pinned)))
                for _ in range(2 * WORKERS)
            ]
            for each in bystanders:
                each.ehlo("client.example")
            turns = cycle(bystanders)  # a loop that stands still holds up one of the next
            assert ask() == 451
            start = time.monotonic()
            while not list((relay.state / "crl").glob("*.index")) or time.monotonic() - start < 1:
                sent = time.monotonic()
                assert transact(next(turns)).code == 250
                longest = max(longest, time.monotonic() - sent)
                assert sent - start < 120
            loaded = time.monotonic() - start
            for _ in range(200):  # the swap, and live sessions asked again
                sent = time.monotonic()
                assert transact(next(turns)).code == 250
                longest = max(longest, time.monotonic() - sent)
        wait_until("revoked", lambda: ask() == 554)
        for _ in range(20):
            assert ask() == 554
        after = memory_kib(workers)
        with capsys.disabled():
            print(
                f"\nloaded after {loaded:.1f} s; {WORKERS} workers together {before / 1024:.1f} MiB "
                f"before, {after / 1024:.1f} MiB after; longest wait of a bystander's message "
                f"{longest * 1000:.1f} ms"
            )
        assert loaded < 60
        assert after - before < 40 * 1024  # the index has 26 MB, once
        assert longest < 0.25  # on a machine that does other things too
