"""Any bytes of a name server, and any text in the DNS: only the documented exceptions escape."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address

import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import Unavailable
from relay.mailauth.spf import Claim, SpfResult, evaluate
from relay.mailauth.spf_record import Record, parse_record
from relay.model import DnsAnswer
from relay.net.dns_message import Match, NoSuchName, Question, read_answer
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.zones import FakeResolver

NAME = "www.example.org"


def answer(*records: tuple[str, str, str], rcode: int = 0) -> bytes:
    """The answer to `Question.about(NAME, ...)` with these records: name, type, text."""
    query = dns.message.make_query(NAME, records[0][1] if records else "A", id=0)
    message = dns.message.make_response(query)
    for name, kind, text in records:
        message.answer.append(dns.rrset.from_text(name, 300, "IN", kind, text))
    soa = "ns.example.org. hostmaster.example.org. 1 2 3 4 60"
    message.authority.append(dns.rrset.from_text("example.org.", 300, "IN", "SOA", soa))
    message.set_rcode(rcode)
    return message.to_wire()


ANSWERS = [
    answer((f"{NAME}.", "A", "192.0.2.1")),
    answer((f"{NAME}.", "TXT", '"v=spf1 " "-all"')),
    answer((f"{NAME}.", "MX", "10 mx.example.org.")),
    answer((f"{NAME}.", "TLSA", "3 1 1 " + "ab" * 32)),
    answer((f"{NAME}.", "CNAME", "a.example.org."), ("a.example.org.", "A", "192.0.2.1")),
    answer((f"{NAME}.", "SRV", "1 2 3 a.example.org.")),
    answer(rcode=3),
    answer(rcode=2),
]
RECORDS = [
    b"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx/24//64 ptr -all",
    b"v=spf1 include:%{d2r}.example.org exists:%{ir}.%{v}._spf.%{o} ~all",
    b"v=spf1 redirect=_spf.example.org exp=why.%{d} x=%{l1r-+}%%%_%-",
    b"v=spf1 a:%{p}.example.org. ?mx:%{H} +include:example.org",
]


@fuzz_settings()
@given(mutated(ANSWERS), st.sampled_from(["A", "TXT", "MX", "TLSA", "SRV", "CNAME", "PTR"]))
def test_any_answer_is_read_or_unavailable(wire: bytes, kind: str) -> None:
    question = Question.about(NAME, kind)
    received = question.wire[:2] + wire[2:]
    if question.match(received) not in {Match.ANSWER, Match.LOOK_ALIKE}:
        return
    try:
        reading = read_answer(received, kind, trust_ad=True)
    except Unavailable:
        return
    assert isinstance(reading.answer, DnsAnswer)
    assert all(isinstance(record, str) for record in reading.answer.records)
    assert reading.ttl is None or reading.ttl >= 0


@fuzz_settings()
@given(st.text(max_size=80) | st.lists(st.text(max_size=20), max_size=8).map(".".join))
def test_any_name_is_asked_for_or_is_none(name: str) -> None:
    try:
        question = Question.about(name, "A")
    except NoSuchName:
        return
    (asked,) = dns.message.from_wire(question.wire).question
    assert len(asked.name.to_wire() or b"") <= 255


@fuzz_settings()
@given(mutated(RECORDS), st.text(max_size=20), st.sampled_from(["192.0.2.1", "2001:db8::1"]))
def test_any_record_gives_a_result(record: bytes, local: str, ip: str) -> None:
    text = record.decode("utf-8", "surrogateescape")
    zones = {"example.org": {"TXT": text}, "why.example.org": {"TXT": text[6:]}}
    claim = Claim(ip_address(ip), local, "example.org", "mx.example.org")
    started = time.process_time()
    outcome = asyncio.run(evaluate(claim, FakeResolver(zones), explain=True))
    assert time.process_time() - started < 1
    assert isinstance(outcome.result, SpfResult)
    if not isinstance(parse_record(text), Record) and outcome.result is not SpfResult.NONE:
        assert outcome.result is SpfResult.PERMERROR
