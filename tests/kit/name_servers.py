"""Foreign name servers on loopback: Knot serves zones, Unbound asks it and validates DNSSEC.

Each runs in a folder of its own, on a free port, as long as its block; knows nothing of the relay.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.kit.apt import need
from tests.kit.relay_process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Knot", "Unbound"]

_KNOT = """\
server:
    listen: 127.0.0.1@{port}
    rundir: {folder}
    pidfile: {folder}/knot.pid
    udp-max-payload: 1232
log:
  - target: stderr
    any: warning
database:
    storage: {folder}/db
template:
  - id: default
    storage: {folder}
    file: "%s.zone"
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
zone:
{zones}"""

_UNBOUND = """\
server:
    interface: 127.0.0.1@{port}
    port: {port}
    do-daemonize: no
    chroot: ""
    username: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 0
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    aggressive-nsec: no
    trust-anchor-file: "{folder}/anchors"
    local-zone: "test." nodefault
remote-control:
    control-enable: no
{stubs}"""

_STUB = """\
stub-zone:
    name: "{zone}."
    stub-addr: 127.0.0.1@{port}
    stub-no-cache: yes
"""


class _Process:
    """A server that runs from `start` to `stop`; the port stays the same."""

    def __init__(self, program: str) -> None:
        self.port = free_port()
        self._program = need(program)
        self._folder = tempfile.TemporaryDirectory(prefix=f"{program}-")
        self.folder = Path(self._folder.name)
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As `[dns] servers` has it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run, and wait for the first answer."""
        self._running = subprocess.Popen(
            [self._program, *self._arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(f"{self._program} answers", self._has_answered)

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        if self._running is not None:
            self._running.kill()
            self._running.wait(20)
            self._running = None

    def ask(self, name: str, kind: str) -> dns.message.Message | None:
        """Ask by TCP, with another client than the relay's; None without an answer."""
        query = dns.message.make_query(name, kind, want_dnssec=True)
        try:
            return dns.query.tcp(query, "127.0.0.1", port=self.port, timeout=5)
        except (OSError, EOFError, dns.exception.DNSException):
            return None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def _arguments(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _has_answered(self) -> bool:
        raise NotImplementedError


class Knot(_Process):
    """Serves `zones`, records in the text of zone files; those named in `signed` with DNSSEC."""

    def __init__(self, zones: Mapping[str, str], signed: frozenset[str] = frozenset()) -> None:
        super().__init__("knotd")
        self._zones = tuple(zones)
        self._signed = signed
        (self.folder / "db").mkdir()
        for zone, records in zones.items():
            head = f"$ORIGIN {zone}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
            (self.folder / f"{zone}.zone").write_text(head + records)
        listed = [
            f"  - domain: {zone}\n    dnssec-signing: {'on' if zone in signed else 'off'}\n"
            for zone in zones
        ]
        config = _KNOT.format(port=self.port, folder=self.folder, zones="".join(listed))
        (self.folder / "knot.conf").write_text(config)

    def keys(self, zone: str) -> str:
        """The DNSKEY records of a signed zone, as a trust anchor file has them."""
        answer = self.ask(zone, "DNSKEY")
        assert answer is not None
        found = [each for each in answer.answer if each.rdtype == dns.rdatatype.DNSKEY]
        return "".join(f"{each.to_text()}\n" for each in found)

    def _arguments(self) -> tuple[str, ...]:
        return ("-c", str(self.folder / "knot.conf"))

    def _has_answered(self) -> bool:
        return all(self._serves(zone) for zone in self._zones)

    def _serves(self, zone: str) -> bool:
        answer = self.ask(zone, "DNSKEY" if zone in self._signed else "SOA")
        return answer is not None and bool(answer.answer)


class Unbound(_Process):
    """Asks `knot` about its zones, and validates what `anchors` (records as text) vouch for."""

    def __init__(self, knot: Knot, zones: tuple[str, ...], anchors: str) -> None:
        super().__init__("unbound")
        self._probe = zones[0]
        (self.folder / "anchors").write_text(anchors)
        stubs = "".join(_STUB.format(zone=zone, port=knot.port) for zone in zones)
        config = _UNBOUND.format(port=self.port, folder=self.folder, stubs=stubs)
        (self.folder / "unbound.conf").write_text(config)

    def _arguments(self) -> tuple[str, ...]:
        return ("-d", "-c", str(self.folder / "unbound.conf"))

    def _has_answered(self) -> bool:
        answer = self.ask(self._probe, "SOA")
        return answer is not None and answer.rcode() == dns.rcode.NOERROR
