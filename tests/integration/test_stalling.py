"""Connections that stall are shed by deadlines, and idle ones are held, while good mail flows."""

import asyncio
import contextlib
import resource
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import clients

DEADLINE = 3.0
MANY = [pytest.param(300, id="300"), pytest.param(2000, id="2000", marks=pytest.mark.slow)]


@pytest.fixture
def relay(own_upstream, start_relay):
    allow_files(12_000)
    phase = f"{DEADLINE:.0f}s"
    timeouts = {"handshake": phase, "greeting": phase}
    return start_relay(own_upstream.port, timeouts=timeouts)


def allow_files(wanted):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"needs {wanted} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def half_a_client_hello():
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    return hello[: len(hello) // 2]


async def silent(reader, writer):
    pass


async def a_byte_a_second(reader, writer):
    for byte in b"EHLO slow.client.example.that.never.comes.to.an.end":
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def half_a_handshake(reader, writer):
    writer.write(b"EHLO half.example\r\n")
    while (await reader.readline())[3:4] != b" ":
        pass
    writer.write(b"STARTTLS\r\n")
    await reader.readline()
    writer.write(half_a_client_hello())


async def stall(port, manner):
    """Connect, stall, and return after how many seconds the relay hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()
    try:
        await reader.readline()
        working = asyncio.ensure_future(manner(reader, writer))
        try:
            while await reader.read(1000):
                pass
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return time.monotonic() - started


async def stall_all(site, port, manner, count):
    """Stall on many connections; returns their ends and how long good mail took meanwhile."""
    stalling = [asyncio.ensure_future(stall(port, manner)) for _ in range(count)]
    context = site.context(site.pinned)
    good = []
    while not all(task.done() for task in stalling):
        started = time.monotonic()
        answer = await asyncio.to_thread(clients.send, port, context)
        good.append((answer.code, time.monotonic() - started))
    return [task.result() for task in stalling], good


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("manner", [silent, a_byte_a_second])
def test_stalling_clients_are_shed(manner, count, site, relay):
    ends, good = asyncio.run(asyncio.wait_for(stall_all(site, relay.port, manner, count), 60))
    check(ends, good, DEADLINE)


@pytest.mark.parametrize("count", MANY)
def test_half_handshakes_are_shed(count, site, relay):
    ends, good = asyncio.run(
        asyncio.wait_for(stall_all(site, relay.port, half_a_handshake, count), 60)
    )
    check(ends, good, DEADLINE)


def check(ends, good, deadline):
    assert max(ends) < deadline + 5
    assert len(good) > 5
    assert {code for code, _ in good} == {250}
    assert sorted(seconds for _, seconds in good)[len(good) // 2] < 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "count",
    [pytest.param(1000, id="1000"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)],
)
def test_idle_connections_are_held_and_live(count, site, own_upstream, start_relay):
    allow_files(12_000)
    relay = start_relay(own_upstream.port)
    context = site.context(site.pinned)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:

        def open_one(_):
            session = clients.session(relay.port, context)
            smtp = session.__enter__()
            stack.push(session.__exit__)
            return smtp, smtp.ehlo("client.example")[0]

        held = list(pool.map(open_one, range(count)))
        assert {code for _, code in held} == {250}
        assert clients.send(relay.port, context).code == 250
        assert {smtp.noop()[0] for smtp, _ in held} == {250}
