"""Answers out of memory or of name servers that are slow, dead, careless or lying: in bounded time."""

import asyncio
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

import relay.net.resolver as resolver_module
from relay.errors import Unavailable
from relay.model import DnsAnswer, Endpoint
from relay.net.name_servers import NameServer, parse_name_server
from relay.net.resolver import DnsResolver, open_resolver, read_answer
from relay.settings.dns import Dns
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.pki import Authority

ZONES = {
    "example.org": {
        "A": ["192.0.2.1"],
        "MX": ["10 mx.example.org"],
        "TXT": ["v=spf1 -all", "x" * 3000],
    },
    "www.example.org": {"CNAME": "example.org"},
    "xn--bcher-kva.example": {"A": "192.0.2.7"},
    "large.example": {"A": [f"10.0.{n // 250}.{n % 250}" for n in range(1500)]},
    "huge.example": {"A": [f"10.0.{n // 250}.{n % 250}" for n in range(3000)]},
    "loop.example": {"CNAME": "loop.example"},
}
A = DnsAnswer(("192.0.2.1",))


@pytest.fixture
def server():
    with DnsServer(ZONES) as running:
        yield running


@pytest.fixture
def other():
    with DnsServer(ZONES) as running:
        yield running


def settings(**more):
    return Dns(**{"timeout": "150ms", "attempts": 2} | more)


def with_resolver(work, *servers, tls=None, **more):
    """Run `work(resolver)` on the loop that the relay runs on."""

    async def run():
        places = [
            parse_name_server(each.address) if isinstance(each, DnsServer) else each
            for each in servers
        ]
        resolver = DnsResolver(settings(**more), places, tls)
        try:
            return await work(resolver)
        finally:
            await resolver.close()

    return uvloop.run(asyncio.wait_for(run(), 20))


def resolve(name, kind, *servers, **more):
    async def work(resolver):
        return await resolver.resolve(name, kind)

    return with_resolver(work, *servers, **more)


def free_port():
    with DnsServer() as gone:
        return parse_name_server(gone.address)


# --- what is there, and what is not -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("example.org", "A", A),
        ("EXAMPLE.org.", "A", A),
        ("www.example.org", "A", A),
        ("example.org", "MX", DnsAnswer(("10 mx.example.org",))),
        ("bücher.example", "A", DnsAnswer(("192.0.2.7",))),
        ("example.org", "AAAA", DnsAnswer()),
        ("missing.example.org", "A", DnsAnswer(exists=False)),
        ("a..b", "A", DnsAnswer(exists=False)),
        ("x" * 64 + ".example", "A", DnsAnswer(exists=False)),
    ],
)
def test_an_answer_is_what_the_zone_says(server, name, kind, expected):
    assert resolve(name, kind, server) == expected


def test_what_cannot_be_a_name_is_not_asked_for(server):
    resolve("a..b", "A", server)
    assert server.asked == []


def test_what_does_not_fit_into_a_datagram_comes_by_tcp(server):
    answer = resolve("example.org", "TXT", server)
    assert sorted(answer.records) == ["v=spf1 -all", "x" * 3000]
    assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("name", "records", "is_beside"), [("large.example", 1500, True), ("example.org", 1, False)]
)
def test_only_a_long_answer_is_read_beside_the_loop(server, monkeypatch, name, records, is_beside):
    readers = []

    def read(*args, **kwargs):
        readers.append(threading.current_thread())
        return read_answer(*args, **kwargs)

    monkeypatch.setattr(resolver_module, "read_answer", read)
    answer = resolve(name, "A", server, timeout="2s")
    assert len(answer.records) == records
    assert [each is not threading.main_thread() for each in readers] == [is_beside]


def test_a_long_answer_does_not_wait_for_the_threads_of_others(server):
    free = threading.Event()

    async def work(resolver):
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        archive = loop.run_in_executor(None, free.wait, 10)
        try:
            return await resolver.resolve("example.org", "TXT"), archive.done()
        finally:
            free.set()
            await archive

    answer, is_archive_done = with_resolver(work, server, timeout="2s")
    assert max(map(len, answer.records)) == 3000
    assert not is_archive_done


def test_an_answer_beyond_all_measure_is_no_answer(server):
    with pytest.raises(Unavailable, match="bytes"):
        resolve("huge.example", "A", server, timeout="5s", attempts=1)


# --- memory -----------------------------------------------------------------------------------------


def ask_twice(server, name, kind, wait=0.0, **more):
    async def work(resolver):
        for _ in range(2):
            try:
                await resolver.resolve(name, kind)
            except Unavailable:
                pass
            await asyncio.sleep(wait)
        return resolver.counts

    return with_resolver(work, server, **more)


@pytest.mark.parametrize("name", ["example.org", "www.example.org", "missing.example.org"])
def test_an_answer_is_kept(server, name):
    counts = ask_twice(server, name, "A")
    assert len(server.asked) == 1
    assert (counts.asked, counts.cached) == (2, 1)


def test_a_failure_is_kept(server):
    server.faults[""] = (Fault.SERVFAIL,)
    ask_twice(server, "example.org", "A")
    assert len(server.asked) == 1


def test_a_no_without_a_soa_is_kept_for_the_shortest_time_only(server):
    server.faults[""] = (Fault.NO_SOA,)
    ask_twice(server, "missing.example.org", "A", min_ttl="0s")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("example.org", {"max_ttl": "50ms", "min_ttl": "0s"}),
        ("missing.example.org", {"negative_ttl": "50ms", "min_ttl": "0s"}),
        ("dead.example", {"failure_ttl": "50ms"}),
    ],
)
def test_nothing_is_kept_longer_than_its_bound(server, name, bounds):
    server.faults["dead.example"] = (Fault.SERVFAIL,)
    ask_twice(server, name, "A", wait=0.07, **bounds)
    assert len(server.asked) == 2


def test_an_answer_is_kept_for_the_shortest_time_whatever_its_ttl(server):
    server.ttl = 0
    ask_twice(server, "example.org", "A")
    assert len(server.asked) == 1
    ask_twice(server, "www.example.org", "A", min_ttl="0s")
    assert len(server.asked) == 3


# --- many at a time ---------------------------------------------------------------------------------


def test_one_question_is_asked_for_all_who_want_to_know(server):
    server.faults[""] = (Fault.HELD,)

    async def work(resolver):
        waiting = [asyncio.create_task(resolver.resolve("example.org", "A")) for _ in range(50)]
        while not server.asked:
            await asyncio.sleep(0.005)
        server.release()
        answers = await asyncio.gather(*waiting)
        return answers, resolver.counts.joined

    answers, joined = with_resolver(work, server, timeout="5s")
    assert answers == [A] * 50
    assert joined == 49
    assert len(server.asked) == 1


def test_who_goes_away_ends_the_question_for_nobody_else(server):
    server.faults[""] = (Fault.HELD,)

    async def work(resolver):
        impatient = asyncio.create_task(resolver.resolve("example.org", "A"))
        patient = asyncio.create_task(resolver.resolve("example.org", "A"))
        while not server.asked:
            await asyncio.sleep(0.005)
        impatient.cancel()
        server.release()
        return await patient

    assert with_resolver(work, server, timeout="5s") == A


def test_no_more_questions_are_under_way_than_allowed(server):
    server.faults[""] = (Fault.HELD,)

    async def work(resolver):
        waiting = [
            asyncio.create_task(resolver.resolve(f"{n}.example.org", "A")) for n in range(10)
        ]
        while len(server.asked) < 3:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        under_way = len(server.asked)
        server.release()
        await asyncio.gather(*waiting)
        return under_way

    assert with_resolver(work, server, timeout="5s", max_in_flight=3) == 3
    assert len(server.asked) == 10


def test_who_waits_too_long_for_a_turn_is_told_so_and_may_ask_again_at_once(server):
    async def work(resolver):
        async with resolver._slots:
            with pytest.raises(Unavailable, match="too many questions"):
                await resolver.resolve("example.org", "A")
        return await resolver.resolve("example.org", "A")

    assert with_resolver(work, server, max_in_flight=1) == A


def test_closing_ends_what_is_under_way(server):
    server.faults[""] = (Fault.HELD,)

    async def run():
        resolver = DnsResolver(settings(timeout="10s"), [parse_name_server(server.address)])
        asked = asyncio.create_task(resolver.resolve("example.org", "A"))
        while not server.asked:
            await asyncio.sleep(0.005)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await asked

    uvloop.run(asyncio.wait_for(run(), 5))


# --- servers that fail ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.HELD, Fault.GARBAGE])
def test_without_an_answer_it_is_over_in_bounded_time(server, fault):
    server.faults[""] = (fault,)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no answer in time"):
        resolve("example.org", "A", server)
    assert 0.25 < time.monotonic() - started < 1.5
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE])
def test_another_server_is_asked(server, other, fault):
    server.faults[""] = (fault,)
    assert resolve("example.org", "A", server, other) == A


def test_a_port_where_nobody_listens_is_passed_over_at_once(other):
    started = time.monotonic()
    assert resolve("example.org", "A", free_port(), other, timeout="3s") == A
    assert time.monotonic() - started < 1.5


def test_who_has_failed_is_asked_last_for_a_while(server, other):
    server.faults[""] = (Fault.SILENT,)

    async def work(resolver):
        return [await resolver.resolve(f"{n}.example.org", "A") for n in range(5)]

    with_resolver(work, server, other)
    assert len(server.asked) == 1
    assert len(other.asked) == 5


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED])
def test_who_says_that_it_cannot_tell_is_not_asked_again(server, fault):
    server.faults[""] = (fault,)
    with pytest.raises(Unavailable, match=fault.name):
        resolve("example.org", "A", server, attempts=5)
    assert len(server.asked) == 1


def test_aliases_in_a_circle_are_no_answer(server):
    with pytest.raises(Unavailable):
        resolve("loop.example", "A", server)


def test_who_does_not_know_edns_is_asked_without(server):
    server.faults[""] = (Fault.NO_EDNS,)
    assert resolve("example.org", "A", server) == A
    assert len(server.asked) == 2


def test_a_server_that_comes_back_is_believed_again(server):
    async def work(resolver):
        server.faults[""] = (Fault.SILENT,)
        with pytest.raises(Unavailable):
            await resolver.resolve("example.org", "A")
        server.faults.clear()
        return await resolver.resolve("example.org", "A")

    assert with_resolver(work, server, failure_ttl="0s") == A


# --- servers that lie -------------------------------------------------------------------------------


@pytest.mark.parametrize("forgery", [Fault.WRONG_ID, Fault.WRONG_NAME])
def test_a_forged_answer_is_ignored_and_the_right_one_waited_for(server, forgery):
    server.faults[""] = (forgery,)
    assert resolve("example.org", "A", server, attempts=1) == A


def test_only_forged_answers_are_no_answer(server):
    server.faults[""] = (Fault.WRONG_ID, Fault.ALONE)
    with pytest.raises(Unavailable, match="no answer in time"):
        resolve("example.org", "A", server)


def test_an_answer_with_other_letters_is_asked_for_again_by_a_connection(server):
    name = "a-name-long-enough-that-its-letters-tell.example"
    server.zones[name] = {"A": "192.0.2.1"}
    server.faults[""] = (Fault.WRONG_CASE,)
    assert resolve(name, "A", server) == A
    assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]


def test_a_truncated_answer_says_nothing_by_itself(server):
    server.faults[""] = (Fault.TRUNCATED,)
    assert resolve("missing.example.org", "A", server) == DnsAnswer(exists=False)
    assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]


# --- whom to believe --------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [False, True])
def test_the_bit_ad_counts_if_the_operator_says_so(server, trusted):
    server.secure = {"example.org"}
    assert resolve("example.org", "A", server, trust_ad=trusted).is_authentic is trusted


def test_the_bit_ad_of_a_server_beyond_the_network_never_counts(server):
    class Distant(NameServer):
        is_out_of_reach = False

    server.secure = {"example.org"}
    place = Distant(*parse_name_server(server.address))
    assert not resolve("example.org", "A", place, trust_ad=True).is_authentic


# --- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return Authority("DNS test CA")


@pytest.fixture
def tls_server(authority, tmp_path):
    issued = authority.issue("dns.example.org", dns=["dns.example.org"], usages=["server"])
    chain, key = issued.write(tmp_path, "dns")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with DnsServer(ZONES, tls=context) as running:
        yield running


def trusting(authority):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def over_tls(server, name):
    return NameServer(Endpoint("127.0.0.1", server.port), name)


def test_questions_go_over_one_tls_connection(tls_server, authority):
    async def work(resolver):
        return await asyncio.gather(
            *(
                resolver.resolve(name, "A")
                for name in ("example.org", "www.example.org", "no.example")
            )
        )

    answers = with_resolver(
        work, over_tls(tls_server, "dns.example.org"), tls=trusting(authority), timeout="5s"
    )
    assert answers == [A, A, DnsAnswer(exists=False)]
    assert {transport for transport, _, _ in tls_server.asked} == {"tls"}
    assert tls_server.connections == 1


def test_a_server_over_tls_must_prove_its_name(tls_server, authority):
    with pytest.raises(Unavailable, match="TLS"):
        resolve(
            "example.org",
            "A",
            over_tls(tls_server, "other.example.org"),
            tls=trusting(authority),
            timeout="5s",
        )
    assert tls_server.asked == []


def test_a_server_over_tls_must_have_a_certificate_of_a_known_ca(tls_server):
    with pytest.raises(Unavailable, match="TLS"):
        resolve("example.org", "A", over_tls(tls_server, "dns.example.org"), timeout="5s")
    assert tls_server.asked == []


def test_a_lost_connection_is_made_again(tls_server, authority):
    async def work(resolver):
        await resolver.resolve("example.org", "A")
        tls_server.hang_up()
        return await resolver.resolve("www.example.org", "A")

    server = over_tls(tls_server, "dns.example.org")
    assert with_resolver(work, server, tls=trusting(authority), timeout="5s") == A
    assert tls_server.connections == 2


# --- as the settings say ----------------------------------------------------------------------------


def test_the_resolver_of_the_settings_asks_the_servers_they_name(server):
    async def run():
        resolver = open_resolver(Dns(servers=(server.address,), timeout="5s"))
        try:
            return await resolver.resolve("example.org", "A")
        finally:
            await resolver.close()

    assert uvloop.run(run()) == A
