"""A name server of the tests' own, UDP and TCP (or TLS), whose zones are data and which misbehaves on demand.

    with DnsServer({"example.org": {"A": "192.0.2.1"}}) as server:
        server.faults["example.org"] = (Fault.WRONG_ID, Fault.TRUNCATED)
        ...ask server.address...
        assert server.asked == [("udp", "example.org", "A")]

Zones are spelled as in `tests/kit/zones.py`. Knows nothing of the relay.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from typing import Self

    from tests.kit.zones import Zones

__all__ = ["DnsServer", "Fault"]

_TEXT_PIECE = 255
_LONGEST_CHAIN = 20


class Fault(StrEnum):
    """What the server does wrong; those of a name are applied together."""

    SILENT = "silent"  # no answer, over UDP and TCP
    HELD = "held"  # the answer waits for `release()`
    TRUNCATED = "truncated"  # over UDP
    SERVFAIL = "servfail"
    REFUSED = "refused"
    NO_EDNS = "no_edns"  # FORMERR to whoever uses EDNS
    WRONG_ID = "wrong_id"  # over UDP: a forged answer with another id comes before the right one
    WRONG_NAME = "wrong_name"  # over UDP: an answer to another question comes first
    WRONG_CASE = "wrong_case"  # over UDP, the name in lower case however it was asked
    GARBAGE = "garbage"  # bytes that are no message, and nothing after them
    ALONE = "alone"  # forged answers, and then none
    NO_SOA = "no_soa"  # negative answers without a SOA record


class DnsServer:
    """Serves `zones` on a loopback port; `faults` holds by name, or "name KIND", what goes wrong; "" is every name.

    `asked` remembers (transport, name, kind). `secure` names get the AD bit. Records have `ttl`,
    what is not there `negative_ttl`. A forged answer says 192.0.2.66.
    """

    def __init__(
        self,
        zones: Zones | None = None,
        *,
        secure: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.zones = {name.lower(): dict(records) for name, records in (zones or {}).items()}
        self.secure = set(secure)
        self.faults: dict[str, tuple[Fault, ...]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.ttl = 300
        self.negative_ttl = 60
        self.connections = 0
        self.open_sockets: set[socket.socket] = set()
        self._released = threading.Event()
        self._stopped = threading.Event()
        self._udp, self._tcp = self._bind(port)
        self._tcp.tls = tls
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in (self._udp, self._tcp)
        ]

    @property
    def port(self) -> int:
        """The port, the same for UDP and TCP."""
        return int(self._udp.server_address[1])

    @property
    def address(self) -> str:
        """As `[dns] servers` has it."""
        return f"127.0.0.1:{self.port}"

    def release(self) -> None:
        """Let the answers go that `Fault.HELD` holds back."""
        self._released.set()

    def hang_up(self) -> None:
        """End the TCP connections that are open; new ones may come."""
        for each in tuple(self.open_sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Be gone: the port is closed."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._released.set()
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def replies(self, wire: bytes, transport: str) -> list[bytes]:
        """Return what goes out for one question, in order."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = _text(question.name)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((transport, name, kind))
        faults = next(
            (self.faults[of] for of in (f"{name} {kind}", name, "") if of in self.faults), ()
        )
        if Fault.HELD in faults:
            self._released.wait(30)
        if Fault.SILENT in faults:
            return []
        if Fault.GARBAGE in faults:
            return [b"\x00garbage"]
        forged: list[bytes] = []
        if transport == "udp":
            forged = [_forge(query, fault) for fault in faults if fault in _FORGERIES]
        if Fault.ALONE in faults:
            return forged
        return [*forged, self._answer(query, name, kind, faults, transport)]

    def _answer(
        self,
        query: dns.message.Message,
        name: str,
        kind: str,
        faults: tuple[Fault, ...],
        transport: str,
    ) -> bytes:
        answer = dns.message.make_response(query, recursion_available=True)
        if Fault.NO_EDNS in faults and query.edns >= 0:
            answer.use_edns(False)
            answer.set_rcode(dns.rcode.FORMERR)
        elif Fault.SERVFAIL in faults:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif Fault.REFUSED in faults:
            answer.set_rcode(dns.rcode.REFUSED)
        else:
            self._fill(answer, name, kind, has_soa=Fault.NO_SOA not in faults)
            if name in self.secure:
                answer.flags |= dns.flags.AD
        if transport != "udp":
            return answer.to_wire(max_size=65535)
        if Fault.WRONG_CASE in faults:
            _rename(answer, name)
        whole = answer.to_wire(max_size=65535)
        if Fault.TRUNCATED in faults or len(whole) > max(512, query.payload):
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            return answer.to_wire()
        return whole

    def _fill(self, answer: dns.message.Message, name: str, kind: str, *, has_soa: bool) -> None:
        """Put in the records of a name, its aliases, or that there are none."""
        owner = answer.question[0].name
        for _ in range(_LONGEST_CHAIN):
            records = self.zones.get(name)
            if records is None:
                if not any(other.endswith(f".{name}") for other in self.zones):
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                break
            if kind in records or "CNAME" not in records:
                if kind in records:
                    answer.answer.append(_rrset(owner, kind, records[kind], self.ttl))
                    return
                break
            alias = _rrset(owner, "CNAME", records["CNAME"], self.ttl)
            answer.answer.append(alias)
            owner = cast("Any", alias[0]).target
            name = _text(owner)
        else:
            return
        if has_soa:
            soa = f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {self.negative_ttl}"
            answer.authority.append(_rrset(owner, "SOA", soa, self.ttl))

    def _bind(self, port: int) -> tuple[_Udp, _Tcp]:
        for _ in range(20):
            udp = _Udp(("127.0.0.1", port), _UdpHandler)
            try:
                tcp = _Tcp(("127.0.0.1", udp.server_address[1]), _TcpHandler)
            except OSError:  # that port is taken for TCP: another one
                udp.server_close()
                continue
            udp.owner = tcp.owner = self
            return udp, tcp
        raise OSError("no port is free for both UDP and TCP")


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535
    owner: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    owner: DnsServer
    tls: ssl.SSLContext | None


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        owner = cast("_Udp", self.server).owner
        wire, sock = self.request
        with contextlib.suppress(dns.exception.DNSException, OSError):
            for reply in owner.replies(wire, "udp"):
                sock.sendto(reply, self.client_address)


class _TcpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast("_Tcp", self.server)
        owner, tls = server.owner, server.tls
        owner.connections += 1
        self.request.settimeout(10)
        with contextlib.suppress(dns.exception.DNSException, OSError):
            sock = tls.wrap_socket(self.request, server_side=True) if tls else self.request
            owner.open_sockets.add(sock)
            with sock, sock.makefile("rb") as reader:
                while len(length := reader.read(2)) == 2:
                    wire = reader.read(int.from_bytes(length))
                    for reply in owner.replies(wire, "tls" if tls else "tcp"):
                        sock.sendall(len(reply).to_bytes(2) + reply)


def _text(name: dns.name.Name) -> str:
    return b".".join(name.labels[:-1]).decode("utf-8", "surrogateescape").lower()


def _rrset(owner: dns.name.Name, kind: str, records: Any, ttl: int) -> dns.rrset.RRset:
    texts = (records,) if isinstance(records, str) else records
    rrset = dns.rrset.RRset(owner, dns.rdataclass.IN, dns.rdatatype.from_text(kind))
    for text in texts:
        rrset.add(_rdata(kind, text), ttl)
    return rrset


def _rdata(kind: str, text: str) -> dns.rdata.Rdata:
    if kind == "TXT":
        raw = text.encode("utf-8", "surrogateescape")
        pieces = [raw[at : at + _TEXT_PIECE] for at in range(0, len(raw), _TEXT_PIECE)] or [b""]
        wire = b"".join(bytes([len(piece)]) + piece for piece in pieces)
        return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.TXT, wire, 0, len(wire))
    if kind in {"CNAME", "PTR", "NS", "MX"} and not text.endswith("."):
        text += "."
    return dns.rdata.from_text("IN", kind, text)


def _forge(query: dns.message.Message, fault: Fault) -> bytes:
    forged = dns.message.make_response(query)
    owner = query.question[0].name
    if fault is Fault.WRONG_ID:
        forged.id = (query.id + 1) % 65536
    else:
        owner = _rename(forged, "forged.example")
    forged.answer.append(_rrset(owner, "A", "192.0.2.66", 86400))
    return forged.to_wire()


def _rename(message: dns.message.Message, name: str) -> dns.name.Name:
    """Change the name in the question of a message, and only of this one."""
    question = message.question[0]
    renamed = dns.rrset.RRset(dns.name.from_text(name), question.rdclass, question.rdtype)
    message.question = [renamed]
    return renamed.name


_FORGERIES = frozenset({Fault.WRONG_ID, Fault.WRONG_NAME})
