"""A large message leaves the event loop to others: no step on it takes long, from its first byte to its last.

The whole way in one process, without sockets: session, checks, signature, next hop. What a step costs is CPU time of
its thread, which another process's load does not change much; what it works on is counted, which nothing changes.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import events
from contextvars import ContextVar
from dataclasses import replace

import pytest

from relay.inbound.session import Session
from relay.inbound.signing import Signing
from relay.live_policy import offload
from relay.mailauth.keyring import Keyring
from relay.mailauth.signing import SigningKey
from relay.model import Identity, TrustDecision, TrustStatus
from relay.policy.check import Tools
from relay.smtp.client_commands import BLOCK_BYTES
from tests.kit.clock import FakeClock
from tests.kit.dkim import MESSAGE, NOW, record, rsa_key, signed, zone
from tests.kit.forwarding import way_out
from tests.kit.next_hop import ScriptedHop
from tests.kit.policy import FakePolicies, panel
from tests.kit.services import World, listener
from tests.kit.stream import stream_pair
from tests.kit.zones import FakeResolver

ALICE = Identity("alice", pins=("spki:sha256:" + "0" * 64,), senders=("@example.org",))
PINNED = TrustDecision(TrustStatus.PINNED, ALICE, "the key is pinned", {"spki": "spki:sha256:00"})
RULES = """
[[rule]]
name = "signed"
at = "message"
when = "dkim.result != 'pass'"
then = "reject"
reply = "550 5.7.20 {dkim.errors}"
"""
SIZE = 20_000_000
PIECE_BYTES = 256_000  # what uvloop reads at a time
LONGEST_SECONDS = 0.02
LINES = {"text": b"Some words,  with  blanks \r\n", "base64": b"x" * 76 + b"\r\n"}

is_ours = ContextVar("is_ours", default=False)


@pytest.fixture
def steps(monkeypatch):
    """The CPU seconds of each step of the event loop on behalf of the session."""
    found = []
    plain = events.Handle._run

    def run(handle):
        before = time.thread_time()
        plain(handle)
        if handle._context.get(is_ours):
            found.append(time.thread_time() - before)

    monkeypatch.setattr(events.Handle, "_run", run)
    return found


class LargeWorld(World):
    """All of the way: one route, to a next hop in memory; DKIM is asked for, and signed with."""

    def __init__(self, forwarder, route):
        super().__init__(clock=FakeClock(NOW), policies=FakePolicies(RULES))
        self.trust.decision = PINNED
        self.way = forwarder
        self.beside = []
        forwarder.route_for = lambda *_, **__: route
        resolver = FakeResolver(zone(record(rsa_key())))
        self.panel = panel(Tools("edge.example", self.clock, resolver, self.store, offload))

    def offload(self, work):
        self.beside.append(work.__name__)
        return offload(work)

    def services(self):
        keys = Keyring.of([(SigningKey("example.org", "s1", rsa_key()), ("author",))])
        return replace(
            super().services(),
            next_hop=self.way,
            offload=self.offload,
            signing=Signing(keys, self.clock),
        )


class OtherHop(ScriptedHop):
    """A next hop whose own steps are not the session's, though the session has called it."""

    async def connect(self, *where):
        before = is_ours.set(False)
        try:
            return await super().connect(*where)
        finally:
            is_ours.reset(before)


async def send(stream, body):
    """Say what a client says, and return the reply to the message."""

    async def say(text):
        stream.send(text)
        reply = b""
        while not reply.endswith(b"\r\n") or reply[-200:].splitlines()[-1][3:4] == b"-":
            reply += await stream.receive()
        return reply

    await say(b"")
    for text in (b"EHLO a", b"STARTTLS", b"EHLO a", b"MAIL FROM:<alice@example.org>"):
        await say(text + b"\r\n")
    await say(b"RCPT TO:<bob@example.net>\r\n")
    await say(b"DATA\r\n")
    for start in range(0, len(body), PIECE_BYTES):
        stream.send(body[start : start + PIECE_BYTES])
        await stream.drain()
    return await say(b".\r\n")


def relay_of(body, tmp_path, extensions=("PIPELINING", "8BITMIME", "CHUNKING")):
    """Send a message through; return the reply, the next hop and the world."""

    async def run():
        hop = OtherHop(extensions=extensions)
        async with way_out(hop) as way:
            world = LargeWorld(way.forwarder, way.route)
            near, far = stream_pair()
            near.high_water = 0
            session = Session(far, listener(tmp_path), None, world.services())
            is_ours.set(True)
            running = asyncio.create_task(session.run())
            is_ours.set(False)
            reply = await asyncio.wait_for(send(near, body), 60)
            near.drop()
            await near.close()
            await running
        return reply, hop, world

    return asyncio.run(run())


def test_a_small_message_stays_on_the_loop_and_gives_no_turns_away(steps, tmp_path):
    reply, _, world = relay_of(signed(MESSAGE), tmp_path)
    assert reply.startswith(b"250 "), reply
    assert world.beside == []
    assert len(steps) < 40


@pytest.mark.parametrize("extension", ["CHUNKING", "X-NO-CHUNKING"])
@pytest.mark.parametrize("kind", LINES)
def test_no_step_on_a_large_signed_message_takes_long(kind, extension, steps, tmp_path):
    forged = b"Authentication-Results: edge.example.org; dkim=pass\r\n"  # so that it can't go on as it is
    body = forged + signed(MESSAGE + LINES[kind] * (SIZE // len(LINES[kind])))
    reply, hop, world = relay_of(body, tmp_path, extensions=("PIPELINING", "8BITMIME", extension))
    assert reply.startswith(b"250 "), reply
    assert hop.messages[0].body.endswith(body[len(forged) :])
    assert forged not in hop.messages[0].body[:3000]
    assert world.beside == ["take_body"]
    # Three turns for others with each piece that comes and each block that goes, one with each that is hashed, twice.
    assert len(steps) > 2 * 3 * SIZE / BLOCK_BYTES + 2 * 120
    assert max(steps) < LONGEST_SECONDS
